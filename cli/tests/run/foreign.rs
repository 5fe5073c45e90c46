//! Servers that are not ours: any echo server, any TCP server, and another network namespace.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use throng_report::Verdict;

use crate::harness::{LATE, Running, alone, free_port, output, program, serve, skip, summary, throng, until};

fn load(target: &str, words: &[&str]) -> throng_report::Summary {
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let done = output(throng(&["load", target, "-w", "0s", "-d", "1s", "-q", LATE, &out]).args(words));
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(home.path().join("summary.json").exists(), "{stderr}");
    summary(home.path())
}

fn echoes_everything(summary: &throng_report::Summary) {
    assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
    assert_eq!(summary.messages.delivered, summary.messages.sent);
    assert!(summary.messages.sent > 50, "{:?}", summary.messages);
}

#[test]
fn our_own_few_lines_of_echo_give_everything_back() {
    let _turn = alone();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || echo(stream));
        }
    });
    echoes_everything(&load(&address, &["--protocol", "echo", "-c", "20", "-r", "200"]));
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(got @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..got]).is_err() {
            return;
        }
    }
}

#[test]
fn socat_echoes_everything() {
    let Some(socat) = program("socat") else { return };
    let _turn = alone();
    let port = free_port();
    let listen = format!("TCP4-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=64");
    let _server = Running::start(Command::new(socat).args([listen.as_str(), "PIPE"]).stderr(Stdio::null()));
    until("socat", || TcpStream::connect(("127.0.0.1", port)).ok());
    let words = ["--protocol", "echo", "-c", "10", "-r", "100", "--connect-rate", "50"];
    echoes_everything(&load(&format!("127.0.0.1:{port}"), &words));
}

#[test]
fn redis_holds_connections_and_its_memory_is_read_from_proc() {
    let Some(redis) = program("redis-server") else { return };
    let _turn = alone();
    let port = free_port().to_string();
    let home = tempfile::tempdir().unwrap();
    let words = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    let mut command = Command::new(redis);
    let server = Running::start(command.args(words).current_dir(home.path()).stdout(Stdio::null()));
    let target = format!("127.0.0.1:{port}");
    until("redis", || TcpStream::connect(&target).ok());
    let pid = server.pid().to_string();
    let summary = load(&target, &["--protocol", "connect", "-c", "500", "--server-pid", &pid]);
    assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
    assert_eq!((summary.connections.established, summary.connections.lost), (500, 0));
    let told = summary.server.unwrap();
    assert!(told.user_bytes_per_connection.is_some_and(|bytes| bytes > 0.0), "{told:?}");
    assert!(told.cpu_s.is_some() && told.backend.is_none());
}

#[test]
fn nobody_there_is_a_failure_with_its_cause() {
    let _turn = alone();
    let summary = load(&format!("127.0.0.1:{}", free_port()), &["--protocol", "connect", "-c", "10"]);
    assert_eq!(summary.verdict, Verdict::Fail, "{:?}", summary.reasons);
    assert_eq!(summary.connections.failed, 10);
    assert!(
        summary.connections.failed_by_cause.keys().any(|cause| cause.contains("ECONNREFUSED")),
        "{summary:?}"
    );
}

/// Two network namespaces with a wire between them; gone when dropped.
struct TwoMachines {
    ip: String,
    names: [String; 2],
}

impl TwoMachines {
    fn new(ip: String) -> Result<TwoMachines, String> {
        let id = std::process::id();
        let both = TwoMachines { ip, names: [format!("throng-a-{id}"), format!("throng-b-{id}")] };
        let [a, b] = &both.names;
        for name in &both.names {
            both.ip(&["netns", "add", name])?;
        }
        both.ip(&["link", "add", "wire", "netns", a, "type", "veth", "peer", "name", "wire", "netns", b])?;
        for (name, address) in both.names.iter().zip(["198.18.0.1/24", "198.18.0.2/24"]) {
            both.ip(&["-n", name, "address", "add", address, "dev", "wire"])?;
            both.ip(&["-n", name, "link", "set", "wire", "up"])?;
            both.ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(both)
    }

    fn ip(&self, words: &[&str]) -> Result<(), String> {
        let done = Command::new(&self.ip).args(words).output().map_err(|error| error.to_string())?;
        let text = || format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr).trim());
        done.status.success().then_some(()).ok_or_else(text)
    }

    /// A server on the first of the two.
    fn serve(&self) -> Running {
        let words = ["serve", "--listen=198.18.0.1:7400", "--admin=198.18.0.1:7401", "--connections=1000"];
        let mut server = Running::start(self.throng(0, &words).stdout(Stdio::piped()).stderr(Stdio::null()));
        let mut line = String::new();
        std::io::BufRead::read_line(&mut server.stdout(), &mut line).unwrap();
        assert!(line.starts_with("listening 198.18.0.1:7400"), "{line}");
        server
    }

    /// `throng` on one of the two.
    fn throng(&self, on: usize, words: &[&str]) -> Command {
        let mut command = Command::new(&self.ip);
        command.args(["netns", "exec", &self.names[on], env!("CARGO_BIN_EXE_throng")]).args(words);
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for TwoMachines {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = self.ip(&["netns", "delete", name]);
        }
    }
}

#[test]
fn two_machines_make_one_report() {
    let Some(ip) = program("ip") else { return };
    let _turn = alone();
    let machines = match TwoMachines::new(ip) {
        Ok(machines) => machines,
        Err(why) => return skip(&format!("network namespaces need root: {why}")),
    };
    let _server = machines.serve();

    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let target =
        ["load", "198.18.0.1:7400", "-c", "100", "-r", "300", "-d", "1s", "-w", "0s", "-q", LATE, &out];
    let refused = output(&mut machines.throng(1, &target));
    assert_eq!(refused.status.code(), Some(2), "a stranger must be named first");

    let words = ["--server-admin=198.18.0.1:7401", "--allow-target=198.18.0.0/24", "--source-ip=198.18.0.2"];
    let done = output(machines.throng(1, &target).args(words));
    let summary = summary(home.path());
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(summary.verdict, Verdict::Pass, "{:?}{stderr}", summary.reasons);
    assert_eq!(summary.messages.delivered, summary.messages.sent);
    assert_eq!(summary.host.network, "198.18.0.1:7400");
    let told = summary.server.unwrap();
    assert!(told.cpu_s.is_some() && told.counters["logins"] == 100, "{told:?}");
    assert_eq!(summary.machine.cpu_us_per_message, None, "the two have no machine in common that we know of");
}

/// The users' packets leave their machine by its card, as anybody's do whose machine forwards; the server's machine knows the
/// way back.
#[test]
fn users_in_user_space_reach_a_server_on_another_machine() {
    let Some(ip) = program("ip") else { return };
    let _turn = alone();
    let machines = match TwoMachines::new(ip) {
        Ok(machines) => machines,
        Err(why) => return skip(&format!("network namespaces need root: {why}")),
    };
    let [a, b] = &machines.names;
    machines.ip(&["-n", a, "route", "add", "198.19.0.0/16", "via", "198.18.0.2"]).unwrap();
    let forward = "echo 1 >/proc/sys/net/ipv4/ip_forward";
    machines.ip(&["netns", "exec", b, "sh", "-c", forward]).unwrap();
    let _server = machines.serve();

    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let words =
        ["load", "198.18.0.1:7400", "-c", "200", "-r", "500", "-d", "1s", "-w", "0s", "-q", LATE, &out];
    let tun = ["--engine", "tun", "--source-ip", "198.19.0.0/16", "--allow-target", "198.18.0.1"];
    let done = output(machines.throng(1, &words).args(tun).arg("--server-admin=198.18.0.1:7401"));
    let stderr = String::from_utf8_lossy(&done.stderr);
    let summary = summary(home.path());
    assert_eq!(summary.verdict, Verdict::Pass, "{:?}{stderr}", summary.reasons);
    assert_eq!(summary.connections.established, 200);
    assert_eq!(summary.messages.delivered, summary.messages.sent);
    assert_eq!(summary.generator.tcp["checksum_errors"], 0);
}

#[test]
fn a_server_drains_on_sigterm_and_ends_with_0() {
    let mut served = serve(&[]);
    crate::harness::signal(served.running.pid(), "TERM");
    assert_eq!(served.running.wait().code(), Some(0));
}
