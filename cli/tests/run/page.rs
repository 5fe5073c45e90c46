//! `report.html`: what a real run leaves, and what a browser makes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use throng_report::{Verdict, folder};

use crate::harness::{LATE, alone, any_program, output, summary, throng};

/// A small run with everything that a page tells about.
fn run(home: &Path) -> (PathBuf, String) {
    let folder = home.join("run");
    let out = format!("--out={}", folder.display());
    let words = [
        "run",
        "-c",
        "200",
        "-r",
        "1k",
        "-d",
        "2s",
        "-w",
        "1s",
        "-q",
        "--label",
        "note=<b>&\"",
        "--threshold=lost==0",
        LATE,
        &out,
    ];
    let done = output(&mut throng(&words));
    let page = fs::read_to_string(folder.join("report.html"))
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&done.stderr)));
    (folder, page)
}

#[test]
fn a_run_leaves_a_page_with_its_figures() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let (folder, page) = run(home.path());
    let summary = summary(&folder);
    assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
    for part in [
        "<title>PASS · pairs, 200 users</title>",
        "<td>holds</td>",
        "note=&lt;b&gt;&amp;&quot;",
        &summary.plan.hash,
        &summary.host.kernel,
        "id=\"connections\"",
        "id=\"rates\"",
        "id=\"latency-time\"",
        "id=\"cpu\"",
        "id=\"messages\"",
        "id=\"connecting\"",
        "id=\"processes\"",
        ">planned to delivered</th>",
        "&quot;kind&quot;: &quot;pairs&quot;",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("://") && !page.contains("NaN") && page.len() < 600_000, "{}", page.len());

    // The files hold all that the page was made of: made again from them, it is the same.
    let made = output(&mut throng(&["report", "html", &folder.display().to_string()]));
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let path = folder.join("report.html");
    assert_eq!(String::from_utf8_lossy(&made.stdout), format!("{}\n", path.display()));
    assert!(fs::read_to_string(&path).unwrap() == page, "the page made again differs");
    for (name, histogram) in folder::read(&folder).unwrap().histograms {
        let told = match name.as_str() {
            "planned_to_delivered" => summary.latency_us.planned_to_delivered,
            "send_lag" => summary.latency_us.send_lag,
            "login" => summary.latency_us.login,
            _ => continue,
        };
        assert_eq!(histogram.summary(), told, "{name}");
    }
}

#[test]
fn pages_of_other_runs_are_made_where_they_are_told() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name).display().to_string();
    let summary = throng_report::Summary::default().to_json();
    for folder in ["a", "b"] {
        fs::create_dir(file(folder)).unwrap();
        fs::write(home.path().join(folder).join("summary.json"), &summary).unwrap();
    }
    let made = output(&mut throng(&["report", "html", &file("a"), &file("b/summary.json")]));
    let expected = format!("{}\n{}\n", file("a/report.html"), file("b/report.html"));
    assert_eq!(String::from_utf8_lossy(&made.stdout), expected);
    let made = output(&mut throng(&["report", "html", &file("a"), "-o", &file("page.html")]));
    assert_eq!(String::from_utf8_lossy(&made.stdout), format!("{}\n", file("page.html")));
    assert!(fs::read_to_string(file("page.html")).unwrap().contains("INVALID"));

    let refused = |words: &[&str], part: &str| {
        let done = output(throng(&["report", "html"]).args(words));
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.code() == Some(2) && stderr.contains(part), "{words:?}: {stderr}");
    };
    refused(&[&file("a"), &file("b"), "-o", &file("page.html")], "--out names one page");
    refused(&[&file("c")], "no run at");
    fs::write(file("a/timeseries.csv"), "time_s,phase").unwrap();
    refused(&[&file("a")], "timeseries.csv is damaged: line 1");
}

/// What a page finds out about itself: the window's width and its own, what it loaded, and its charts.
const LOOK: &str = r#"<script>addEventListener("load", () => {
    const root = document.documentElement;
    const charts = [...document.querySelectorAll("svg[role=img]")].filter(chart => chart.getBoundingClientRect().width > 200);
    const loaded = performance.getEntriesByType("resource").length;
    root.dataset.seen = [innerWidth, root.scrollWidth, loaded, charts.length].join(" ");
})</script></body>"#;

/// Frames as wide as windows, each with a page; what these found out stands in the frames' order.
fn frames(pages: &[(u32, &str)]) -> String {
    let mut wrapper = String::from("<!DOCTYPE html><meta charset=\"utf-8\"><body>");
    for (width, page) in pages {
        // The page forbids scripts, its copy has one.
        let (before, policy) = page.split_once("<meta http-equiv").expect("it has a policy");
        let (_, after) = policy.split_once('>').expect("which ends");
        let copy =
            format!("{before}{after}").replace("</body>", LOOK).replace('&', "&amp;").replace('"', "&quot;");
        wrapper.push_str(&format!(
            "<iframe width=\"{width}\" height=\"900\" style=\"border:0\" srcdoc=\"{copy}\"></iframe>"
        ));
    }
    wrapper.push_str(
        r#"<script>addEventListener("load", () => {
            const found = [...document.querySelectorAll("iframe")].map(frame => frame.contentDocument.documentElement.dataset.seen);
            document.documentElement.dataset.found = found.join(",");
        })</script>"#,
    );
    wrapper
}

/// Chromium without a screen and without a network; its stdout and its stderr.
fn browse(browser: &str, home: &Path, file: &Path, words: &[&str]) -> (String, String) {
    let profile = format!("--user-data-dir={}", home.join("profile").display());
    let fixed = [
        "--headless",
        "--no-sandbox", // root has none
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
    ];
    let mut command = Command::new(browser);
    let done = output(command.args(fixed).arg(profile).args(words).arg(format!("file://{}", file.display())));
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{stderr}");
    (String::from_utf8_lossy(&done.stdout).into_owned(), stderr)
}

/// A browser shows the page offline, on a desk and on a phone: nothing in its console, nothing loaded, no wider than the window, and
/// all of its charts, which are `charts` at least.
fn is_well_shown(browser: &str, home: &Path, file: &Path, charts: u32) {
    let page = fs::read_to_string(file).unwrap();
    for width in [1280, 360] {
        let picture = home.join(format!("{width}.png"));
        let words = [format!("--screenshot={}", picture.display()), format!("--window-size={width},900")];
        let words = words.each_ref().map(String::as_str);
        let (_, stderr) = browse(browser, home, file, &words);
        assert!(!stderr.contains("CONSOLE"), "{stderr}");
        let png = fs::read(&picture).unwrap();
        let shown = u32::from_be_bytes(png[16..20].try_into().unwrap());
        assert!(shown == width && png.len() > 10_000, "{shown} pixels wide, {} bytes", png.len());
    }

    let spoilt = page.replace(
        "</body>",
        "<img src=\"http://127.0.0.1:9/x.png\"><div style=\"width:2000px\">wide</div></body>",
    );
    let wrapper = home.join("frames.html");
    fs::write(&wrapper, frames(&[(1280, &page), (360, &page), (360, &spoilt)])).unwrap();
    let (dom, stderr) = browse(browser, home, &wrapper, &["--window-size=1400,900", "--dump-dom"]);
    let found = dom.split_once("data-found=\"").and_then(|(_, rest)| rest.split_once('"'));
    let found: Vec<Vec<u32>> = found
        .unwrap_or_else(|| panic!("the pages found nothing out: {stderr}"))
        .0
        .split(',')
        .map(|frame| frame.split(' ').map(|number| number.parse().unwrap()).collect())
        .collect();
    let drawn = page.matches("role=\"img\"").count() as u32;
    assert!(drawn >= charts, "{drawn}");
    for (frame, width) in found.iter().zip([1280, 360]) {
        assert_eq!(frame, &[width, width, 0, drawn], "its window, its own width, what it loaded, its charts");
    }
    // Were it otherwise, it would be seen.
    assert!(found[2][1] >= 2000 && found[2][2] > 0, "{found:?}");
}

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

#[test]
fn a_browser_shows_a_runs_page_on_a_desk_and_on_a_phone() {
    let Some(browser) = any_program(&BROWSERS) else { return };
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let (folder, _) = run(home.path());
    is_well_shown(&browser, home.path(), &folder.join("report.html"), 7);
}

#[test]
fn a_browser_shows_a_comparisons_page_and_a_searchs() {
    let Some(browser) = any_program(&BROWSERS) else { return };
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let small = ["-c", "20", "-r", "1k", "-d", "500ms", "-w", "100ms", LATE];
    for (words, page, charts) in [
        (vec!["run", "--against", "--backend epoll", "--blocks", "1"], "comparison.html", 2),
        (vec!["capacity", "--find", "rate", "--max", "2k"], "capacity.html", 1),
    ] {
        let folder = home.path().join(page);
        let out = format!("--out={}", folder.display());
        let mut command = throng(&words);
        let done = output(command.args(small).arg(&out).env("XDG_STATE_HOME", home.path()));
        assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
        is_well_shown(&browser, home.path(), &folder.join(page), charts);
    }
}
