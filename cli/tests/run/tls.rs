//! TLS with other people's clients and servers, and what is said about certificates that nobody can use.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use throng_report::{Summary, Verdict};
use throng_wire::limits::FRAME_BYTES_MAX;
use throng_wire::native::{Bye, Frame, Frames, Hello, Receiver, UserId};

use crate::harness::{
    LATE, Running, Served, alone, any_program, free_port, output, program, signal, summary, throng, until,
};

const NAME: &str = "chat.example";

/// A certificate and its key, in files.
struct Pair {
    home: tempfile::TempDir,
}

impl Pair {
    fn new() -> Pair {
        let pair = Pair { home: tempfile::tempdir().unwrap() };
        pair.renew();
        pair
    }

    /// Puts another pair in the same files.
    fn renew(&self) {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        fs::write(self.cert(), made.cert.pem()).unwrap();
        fs::write(self.key(), made.signing_key.serialize_pem()).unwrap();
    }

    fn cert(&self) -> PathBuf {
        self.home.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.home.path().join("key.pem")
    }

    fn flags(&self) -> [String; 3] {
        let flag = |name, path: PathBuf| format!("--{name}={}", path.display());
        ["--tls".to_owned(), flag("cert", self.cert()), flag("key", self.key())]
    }

    /// With one shard, where whoever says hello and goodbye at once is welcomed in between.
    fn serve(&self) -> Served {
        let flags = self.flags();
        let words: Vec<&str> = flags.iter().map(String::as_str).chain(["--shards=1"]).collect();
        crate::harness::serve(&words)
    }
}

fn bytes(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut out));
    out
}

/// What a client says that logs in and leaves.
fn visit() -> Vec<u8> {
    let hello = Hello { version_min: 1, version_max: 1, user: UserId(7), device: 0 };
    bytes(&[Frame::Hello(hello), Frame::Bye { why: Bye::Idle, wait_ms: 0 }])
}

/// Whether these bytes begin with the server's answer to that.
fn is_welcome(bytes: &[u8]) -> bool {
    matches!(Frames::new(bytes, Receiver::Client, FRAME_BYTES_MAX).next(), Ok(Some(Frame::Welcome(_))))
}

/// Runs a program that is told something on its stdin.
fn told(command: &mut Command, text: &[u8]) -> (bool, Vec<u8>, String) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text).unwrap();
    drop(stdin);
    let done = child.wait_with_output().unwrap();
    (done.status.success(), done.stdout, String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn openssl_logs_in() {
    let Some(openssl) = program("openssl") else { return };
    let _turn = alone();
    let pair = Pair::new();
    let served = pair.serve();
    for version in ["-tls1_2", "-tls1_3"] {
        let mut command = Command::new(&openssl);
        command.args(["s_client", "-quiet", "-verify_return_error", version, "-servername", NAME]);
        command.args(["-verify_hostname", NAME, "-connect", &served.address, "-CAfile"]).arg(pair.cert());
        let (_, answer, stderr) = told(&mut command, &visit());
        assert!(is_welcome(&answer), "{version}: {stderr}");
    }
}

#[test]
fn curl_is_met_and_hears_that_this_is_no_web_server() {
    let Some(curl) = program("curl") else { return };
    let _turn = alone();
    let pair = Pair::new();
    let served = pair.serve();
    let port = served.address.rsplit_once(':').unwrap().1;
    let request = |words: &[&str]| {
        let mut command = Command::new(&curl);
        command.args(["--silent", "--verbose", "--http0.9", "--max-time", "20", "--cacert"]).arg(pair.cert());
        command.args(["--connect-to", &format!("{NAME}:{port}:127.0.0.1:{port}")]).args(words);
        let done = output(command.arg(format!("https://{NAME}:{port}/")));
        (done.stdout, String::from_utf8_lossy(&done.stderr).into_owned())
    };
    for (words, version) in
        [(["--no-alpn", "--tls-max", "1.2"], "TLSv1.2"), (["--no-alpn", "--tls-max", "1.3"], "TLSv1.3")]
    {
        let (answer, told) = request(&words);
        assert!(told.contains(&format!("SSL connection using {version}")), "{told}");
        let first =
            Frames::new(&answer, Receiver::Client, FRAME_BYTES_MAX).next().map(|frame| format!("{frame:?}"));
        assert!(first.as_ref().is_ok_and(|frame| frame.contains("Error")), "{first:?} {told}");
    }
    // It would speak HTTP, and says so before the handshake is over.
    let (_, told) = request(&["--tls-max", "1.3"]);
    assert!(told.to_lowercase().contains("no application protocol"), "{told}");
}

#[test]
fn pythons_ssl_logs_in() {
    let Some(python) = program("python3") else { return };
    let _turn = alone();
    let pair = Pair::new();
    let served = pair.serve();
    let script = "
import socket, ssl, sys
host, port = sys.argv[1].rsplit(':', 1)
context = ssl.create_default_context(cafile=sys.argv[2])
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, sys.argv[3])
text = sys.stdin.buffer.read()
with socket.create_connection((host, int(port)), timeout=20) as plain:
    with context.wrap_socket(plain, server_hostname=sys.argv[4]) as secure:
        # A byte for each record.
        for byte in text:
            secure.sendall(bytes([byte]))
        while got := secure.recv(65536):
            sys.stdout.buffer.write(got)
";
    for version in ["TLSv1_2", "TLSv1_3"] {
        let mut command = Command::new(&python);
        command.args(["-c", script, &served.address]).arg(pair.cert()).args([version, NAME]);
        let (success, answer, stderr) = told(&mut command, &visit());
        assert!(success && is_welcome(&answer), "{version}: {stderr}");
    }
}

fn load(words: &[&str]) -> (Summary, String) {
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let done = output(throng(&["load", "-w", "0s", "-d", "1s", "-q", LATE, &out]).args(words));
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(home.path().join("summary.json").exists(), "{stderr}");
    (summary(home.path()), stderr)
}

#[test]
fn stunnel_echoes_everything() {
    let Some(stunnel) = any_program(&["stunnel4", "stunnel"]) else { return };
    let _turn = alone();
    let pair = Pair::new();
    for version in ["1.2", "1.3"] {
        let port = free_port();
        let settings = pair.home.path().join("stunnel.conf");
        let text = format!(
            "foreground = yes\npid =\nsyslog = no\n[echo]\naccept = 127.0.0.1:{port}\nexec = /bin/cat\nsslVersion = TLSv{version}\ncert = {}\nkey = {}\n",
            pair.cert().display(),
            pair.key().display()
        );
        fs::write(&settings, text).unwrap();
        let _server = Running::start(Command::new(&stunnel).arg(&settings).stderr(Stdio::null()));
        until("stunnel", || TcpStream::connect(("127.0.0.1", port)).ok());
        let (target, cacert) = (format!("127.0.0.1:{port}"), format!("--cacert={}", pair.cert().display()));
        let words =
            [&target, "--protocol=echo", "-c", "10", "-r", "200", "--connect-rate", "50", "--tls", &cacert];
        let (summary, stderr) = load(&[&words[..], &["--sni", NAME]].concat());
        assert_eq!(summary.verdict, Verdict::Pass, "{:?} {stderr}", summary.reasons);
        assert!(summary.messages.sent > 50 && summary.messages.delivered == summary.messages.sent);
        let tls = summary.tls.unwrap();
        assert_eq!((tls.version.as_str(), tls.sessions, tls.resumed, tls.whole), (version, 10, 0, 0));
    }
}

fn run(words: &[&str]) -> (Summary, Vec<(PathBuf, Vec<u8>)>) {
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let fixed = ["run", "-c", "300", "-r", "1k", "-w", "100ms", "-d", "1s", "-q", "--tls", LATE, &out];
    let done = output(throng(&fixed).args(words));
    let stderr = String::from_utf8_lossy(&done.stderr);
    let summary = summary(home.path());
    assert_eq!(summary.verdict, Verdict::Pass, "{words:?} {:?} {stderr}", summary.reasons);
    let files = fs::read_dir(home.path()).unwrap().flatten().map(|entry| entry.path());
    (summary, files.map(|path| (path.clone(), fs::read(path).unwrap())).collect())
}

#[test]
fn users_of_both_engines_speak_both_versions() {
    let _turn = alone();
    for engine in ["kernel", "tun"] {
        for (version, suite) in
            [("1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"), ("1.3", "TLS_AES_256_GCM_SHA384")]
        {
            let (summary, files) = run(&["--engine", engine, "--tls-version", version]);
            assert!(summary.messages.delivered == summary.messages.sent && summary.messages.sent > 500);
            let tls = summary.tls.unwrap();
            assert_eq!((tls.version.as_str(), tls.suite.as_str()), (version, suite));
            assert_eq!((tls.sessions, tls.resumed, tls.whole), (300, 0, 0));
            assert!(tls.bytes_per_session.is_some_and(|bytes| (240.0..1_000.0).contains(&bytes)), "{tls:?}");
            assert_eq!(summary.latency_us.handshake.count, 300);
            let server = summary.server.unwrap();
            assert_eq!(server.counters["tls_truncated"], 0, "everybody said goodbye");
            assert_eq!((server.counters["handshakes_full"], server.counters["handshakes_failed"]), (300, 0));
            for (path, bytes) in files {
                let text = String::from_utf8_lossy(&bytes);
                assert!(
                    !text.contains("PRIVATE KEY") && !text.contains("TRAFFIC_SECRET"),
                    "{}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn who_may_resume_does() {
    let _turn = alone();
    for version in ["1.2", "1.3"] {
        let words = ["--tls-version", version, "--resumption", "--connect-rate", "500"];
        let (summary, _) = run(&words);
        let tls = summary.tls.unwrap();
        assert!(tls.sessions == 300 && tls.resumed > 200 && tls.resumption && tls.whole == 0, "{tls:?}");
        assert_eq!(summary.server.unwrap().counters["handshakes_resumed"], tls.resumed);
    }
}

#[test]
fn users_who_do_not_trust_the_server_say_why_they_did_not_get_in() {
    let _turn = alone();
    let (pair, other) = (Pair::new(), Pair::new());
    let served = pair.serve();
    let attempt = |words: &[&str]| {
        let fixed = [served.address.as_str(), "-c", "10", "--tls"];
        let (summary, _) = load(&[&fixed[..], words].concat());
        assert_eq!(summary.verdict, Verdict::Fail, "{:?}", summary.reasons);
        summary.connections.failed_by_cause.into_keys().collect::<Vec<_>>().join(", ")
    };
    let trust = |pair: &Pair| format!("--cacert={}", pair.cert().display());
    let told = attempt(&[&trust(&other), "--sni", NAME]);
    assert!(told.contains("TLS: invalid peer certificate"), "{told}");
    let told = attempt(&[&trust(&pair), "--sni", "other.example"]);
    assert!(told.contains("not valid for name") && told.contains("other.example"), "{told}");
    let told = attempt(&["--insecure", "--tls-version", "1.2", "--protocol", "echo"]);
    assert!(told.is_empty() || !told.contains("TLS"), "whoever trusts everybody gets in: {told}");
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_at_the_start_by_its_name() {
    let (pair, other) = (Pair::new(), Pair::new());
    let refused = |cert: &Path, key: &Path| {
        let flags = [format!("--cert={}", cert.display()), format!("--key={}", key.display())];
        let done = output(throng(&["serve", "--listen=127.0.0.1:0", "--tls"]).args(flags));
        assert_eq!(done.status.code(), Some(2));
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    let told = refused(&pair.cert(), &other.key());
    assert!(told.contains("cert.pem: the private key is not that of the certificate"), "{told}");
    let told = refused(&pair.key(), &pair.key());
    assert!(told.contains("key.pem: no certificate in it"), "{told}");
    let old = pair.home.path().join("old.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new([NAME.to_owned()]).unwrap();
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    fs::write(&old, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(pair.key(), key.serialize_pem()).unwrap();
    let told = refused(&old, &pair.key());
    assert!(told.contains("old.pem: the certificate of") && told.contains("expired"), "{told}");
    let done = output(&mut throng(&["serve", "--listen=127.0.0.1:0", "--tls"]));
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("--tls takes --cert and --key"));
}

/// What the certificate is that a server shows now, as openssl prints it.
fn shown(openssl: &str, address: &str) -> String {
    let mut command = Command::new(openssl);
    let (_, text, _) = told(command.args(["s_client", "-connect", address, "-servername", NAME]), b"");
    let text = String::from_utf8_lossy(&text).into_owned();
    let from = text.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("{text}"));
    text[from..].lines().take_while(|line| !line.contains("END")).collect()
}

#[test]
fn a_certificate_is_read_again_on_sighup_and_one_that_cannot_be_used_changes_nothing() {
    let Some(openssl) = program("openssl") else { return };
    let _turn = alone();
    let pair = Pair::new();
    let fixed = ["serve", "--listen=127.0.0.1:0"];
    let mut running =
        Running::start(throng(&fixed).args(pair.flags()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut line = String::new();
    running.stdout().read_line(&mut line).unwrap();
    let address = line.split_whitespace().nth(1).unwrap().to_owned();
    let mut said = running.stderr();
    let mut next = |what: &str| {
        let mut line = String::new();
        BufReader::read_line(&mut said, &mut line).unwrap();
        assert!(line.contains(what), "{line}");
    };
    let first = shown(&openssl, &address);
    pair.renew();
    signal(running.pid(), "HUP");
    next("the certificate was read again");
    let second = shown(&openssl, &address);
    assert_ne!(first, second);
    fs::write(pair.key(), "nothing").unwrap();
    signal(running.pid(), "HUP");
    next("stays as it was: --key");
    assert_eq!(shown(&openssl, &address), second);
}

#[test]
fn both_kinds_of_clients_are_met_side_by_side() {
    let _turn = alone();
    let pair = Pair::new();
    let port = free_port();
    let plain = format!("--listen-plain=127.0.0.1:{port}");
    let flags = pair.flags();
    let words: Vec<&str> = flags.iter().map(String::as_str).chain([plain.as_str(), "--shards=1"]).collect();
    let served = crate::harness::serve(&words);
    let addresses: Vec<&str> = served.address.split(',').collect();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(&visit()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(is_welcome(&answer));
    let secure = addresses.iter().find(|address| !address.ends_with(&format!(":{port}"))).unwrap();
    let (summary, _) =
        load(&[secure, "-c", "20", "-r", "100", "--tls", "--insecure", "--server-admin", &served.admin]);
    assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
}
