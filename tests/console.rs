//! The console, as people meet it: in a browser with scripts and without, and as somebody who means ill sends to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::path::{Path, PathBuf};

use serde_json::json;
use support::{
    Answer, Call, Key, Sidecar, Upstream,
    browser::{Browser, Scripts},
    eventually,
};

const POLICY: &str = r#"version: 1
groups:
  finance: ["*@finance.acme.example", "zoe@acme.example"]
never_impersonate: ["ceo@acme.example"]
service_accounts:
  app:
    shares:
      - resource: process:Purchase_Order
        actions: [create, submit, list]
        impersonate: {users: ["@finance"]}
        note: agreed with Finance
      - {resource: "board:*", actions: [list, read], until: 2099-12-31}
  reporting:
    shares:
      - {resource: "dataset:*", actions: [list, read]}
    deny:
      - {resource: "dataset:Salaries", actions: "*", note: works council}
"#;

const LIST: &str = "/process/2/Ac1/Purchase_Order/myitems";

fn sidecar(upstream: &Upstream) -> Sidecar {
    Sidecar::behind(upstream).policy(POLICY).accounts(&["app", "reporting"]).start()
}

fn token(sidecar: &Sidecar, id: &str, role: &str, options: &[&str]) -> String {
    let words = [&["admin", "create", id, "--name", id, "--role", role, "--output", "json"], options].concat();
    sidecar.vicar(&words).succeeded().json()["token"].as_str().unwrap().to_owned()
}

fn at(sidecar: &Sidecar, path: &str) -> String {
    format!("http://{}{path}", sidecar.admin())
}

/// Opens a browser and signs in.
fn signed_in(sidecar: &Sidecar, token: &str, scripts: Scripts) -> Browser {
    let browser = Browser::open(scripts);
    browser.go(&at(sidecar, "/console"));
    browser.fill("#token", token);
    browser.follow("button[type=submit]");
    titled(&browser, "Service accounts");
    browser
}

fn titled(browser: &Browser, title: &str) {
    eventually(&format!("the page {title}"), || (browser.title() == format!("{title} · Vicar")).then_some(()));
}

/// Pictures and pages that somebody may want to look at after the tests.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("console").join(format!("{name}.png"))
}

/// The value of an attribute somewhere behind `mark`.
fn attribute(page: &str, mark: &str, name: &str) -> String {
    let from = page.find(mark).unwrap_or_else(|| panic!("no {mark} in {page}"));
    let rest = &page[from..];
    let start = rest.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
    rest[start..].split('"').next().unwrap().to_owned()
}

/// A session by hand, as a program without scripts holds it.
struct Visitor<'s> {
    sidecar: &'s Sidecar,
    cookie: String,
}

impl<'s> Visitor<'s> {
    fn sign_in(sidecar: &'s Sidecar, token: &str) -> Self {
        let answer = form("/console/sign-in", &[("token", token)]).send(sidecar.admin());
        answer.expect_status(303);
        let set = answer.header("set-cookie").unwrap();
        assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
        Self { sidecar, cookie: set.split(';').next().unwrap().to_owned() }
    }

    fn get(&self, path: &str) -> Answer {
        Call::get(path).header("Cookie", &self.cookie).send(self.sidecar.admin())
    }

    /// Fills the form that posts to `action` on the page `on`, hidden fields included.
    fn fill(&self, on: &str, action: &str, fields: &[(&str, &str)]) -> Call {
        let page = self.get(on).text();
        let form_at = page.find(&format!("action=\"{action}\"")).unwrap_or_else(|| panic!("no form to {action} on {page}"));
        let inside = page[form_at..].split("</form>").next().unwrap();
        let hidden =
            inside.split("<input type=\"hidden\"").skip(1).map(|input| (attribute(input, "", "name"), attribute(input, "", "value")));
        let mut all: Vec<(String, String)> = hidden.collect();
        all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        form(action, &all).header("Cookie", &self.cookie)
    }

    fn send(&self, call: &Call) -> Answer {
        call.send(self.sidecar.admin())
    }
}

fn form(action: &str, fields: &[(&str, &str)]) -> Call {
    let encode = |text: &str| {
        text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect::<String>()
    };
    let body: Vec<String> = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    Call::post(action).header("Content-Type", "application/x-www-form-urlencoded").body(body.join("&"))
}

// ===== in a browser =====

#[test]
fn an_admin_makes_an_account_and_a_key_that_works_and_turns_it_off_again() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).policy(POLICY).accounts(&["reporting"]).start();
    let browser = signed_in(&sidecar, &token(&sidecar, "zoe", "super-admin", &[]), Scripts::On);
    browser.follow("a[href='/console/new-account']");
    browser.fill("#name", "Procure <b>to</b> pay");
    browser.fill("#id", "app");
    browser.fill("#description", "Chains requests & orders");
    browser.follow("form[action='/console/new-account'] button");
    titled(&browser, "Procure <b>to</b> pay");
    assert_eq!(browser.text("h1"), "Procure <b>to</b> pay active");
    browser.follow("a[href$='/keys/new']");
    browser.fill("#name", "production");
    browser.follow("main form button[type=submit]");
    titled(&browser, "Key created");
    assert!(browser.text("main").contains("the only time the secret is shown"), "{}", browser.text("main"));
    browser.picture(&kept("secret"));
    let key = Key { account: "app".to_owned(), id: browser.text("#key-id"), secret: browser.text("#key-secret") };
    browser.press("[data-copy='key-secret']");
    eventually("it says that it copied", || browser.text("main").contains("Copied").then_some(()));
    browser.press("a[download]");
    let file = browser.downloads().join(format!("app-{}.env", key.id));
    let saved = eventually("the download is there", || std::fs::read_to_string(&file).ok().filter(|text| text.contains("SECRET")));
    assert!(saved.contains(&format!("VICAR_ACCESS_KEY_SECRET={}", key.secret)), "{saved}");
    let works = || sidecar.send(&Call::get(LIST).with(&key)).status;
    eventually("the key works", || (works() == 200).then_some(()));
    browser.go(&at(&sidecar, &format!("/console/keys/{}", key.id)));
    assert!(!browser.source().contains("vsk_"), "the secret is shown once");
    browser.follow("a[href$='/disable']");
    titled(&browser, "Disable this key?");
    assert!(browser.text("main").contains("last working key"));
    browser.follow("button.danger");
    titled(&browser, "production");
    assert!(browser.text("h1").contains("disabled"));
    eventually("the key is refused", || (works() == 401).then_some(()));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_log_can_be_followed_live() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let before = sidecar.send(&Call::get(LIST).with(sidecar.app())).request_id();
    sidecar.record(&before);
    let browser = signed_in(&sidecar, &token(&sidecar, "zoe", "auditor", &[]), Scripts::On);
    browser.go(&at(&sidecar, "/console/accounts/app/audit"));
    assert!(browser.source().contains(&before), "what was before");
    let refused = sidecar.send(&Call::get("/dataset/2/Ac1/Vendors/list").with(sidecar.app())).request_id();
    browser.press("#follow");
    assert_eq!(browser.text("#follow"), "Following");
    let allowed = sidecar.send(&Call::get(LIST).with(sidecar.app()).on_behalf_of("zoe@acme.example")).request_id();
    eventually("both come up by themselves", || {
        let page = browser.source();
        (page.contains(&refused) && page.contains(&allowed)).then_some(())
    });
    let rows = browser.run("return Array.from(document.querySelectorAll('#records tr'), (row) => row.dataset.id.split('/')[2])");
    let mut unique: Vec<&str> = rows.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let all = unique.len();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), all, "no row comes twice");
    assert_eq!(browser.text("#records tr:first-child .pill.acts"), "zoe@acme.example");
    browser.press("#follow");
    assert_eq!(browser.text("#follow"), "Follow live");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn everything_but_following_works_without_scripts() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    sidecar.record(&sidecar.send(&Call::get(LIST).with(sidecar.app())).request_id());
    let browser = signed_in(&sidecar, &token(&sidecar, "zoe", "super-admin", &[]), Scripts::Off);
    browser.go(&at(&sidecar, "/console/accounts/app"));
    browser.follow("a[href$='/keys/new']");
    browser.fill("#name", "by hand");
    browser.follow("main form button[type=submit]");
    assert!(browser.text("#key-secret").starts_with("vsk_"));
    browser.press("a[download]");
    let file = browser.downloads().join(format!("app-{}.env", browser.text("#key-id")));
    eventually("the download is there", || std::fs::read_to_string(&file).ok().filter(|text| text.contains("vsk_")));
    browser.go(&at(&sidecar, "/console/accounts/app/audit"));
    assert!(browser.has("#records tr") && !browser.text("main").contains("Follow live"));
    browser.go(&at(&sidecar, "/console/explain"));
    browser.fill("#path", "/dataset/2/Ac1/Salaries/list");
    browser.follow("main button[type=submit]");
    assert!(browser.text(".verdict").contains("Refused"), "{}", browser.text("main"));
    browser.go(&at(&sidecar, "/console/policy"));
    browser.press("summary");
    browser.follow("main button[type=submit]");
    assert!(browser.text("#outcome").contains("This policy holds"), "{}", browser.text("#outcome"));
    browser.follow(".me button");
    titled(&browser, "Sign in");
    browser.go(&at(&sidecar, "/console"));
    assert_eq!(browser.title(), "Sign in · Vicar");
}

#[test]
fn an_edit_of_the_policy_is_tried_and_shows_what_it_would_change() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    sidecar.record(&sidecar.send(&Call::get("/dataset/2/Ac1/Vendors/list").with(sidecar.key("reporting"))).request_id());
    let browser = signed_in(&sidecar, &token(&sidecar, "zoe", "auditor", &[]), Scripts::On);
    browser.go(&at(&sidecar, "/console/policy"));
    browser.press("summary");
    browser.fill("#policy", &POLICY.replace("dataset:*", "dataset:Other"));
    browser.follow("main button[type=submit]");
    let told = browser.text("#outcome");
    assert!(told.contains("Would be refused from now on 1") && told.contains("dataset:Vendors"), "{told}");
    browser.picture(&kept("policy-tried"));
    browser.fill("#policy", &POLICY.replace("actions: [list, read]}", "actions: [lst, read]}"));
    browser.follow("main button[type=submit]");
    let told = browser.text("#outcome");
    assert!(told.contains("would not be taken") && told.contains("list"), "{told}");
    browser.picture(&kept("policy-wrong"));
}

/// Names and descriptions are what admins of all sorts type, user agents and paths what callers send.
#[test]
fn html_in_names_and_records_is_text() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).accounts(&["app"]).start();
    let admin = token(&sidecar, "zoe", "super-admin", &[]);
    let trap = "<img src=x onerror=\"document.title='caught'\">'\"&amp;";
    let api = |method: &str, path: &str, body: serde_json::Value| {
        let call = Call::new(method, path).header("Authorization", &format!("Bearer {admin}")).json(&body);
        call.send(sidecar.admin())
    };
    api("PATCH", "/api/v1/accounts/app", json!({"name": trap, "description": trap})).expect_status(200);
    let key = api("POST", "/api/v1/accounts/app/keys", json!({"name": trap})).json()["id"].as_str().unwrap().to_owned();
    let call = Call::get("/case/2/Ac1/%3Cimg%20src=x%20onerror=alert(1)%3E/fields").with(sidecar.app()).header("User-Agent", trap);
    sidecar.record(&sidecar.send(&call).request_id());
    let browser = signed_in(&sidecar, &admin, Scripts::On);
    let key = format!("/console/keys/{key}");
    let delete = format!("{key}/delete");
    for page in
        ["/console", "/console/accounts/app", "/console/accounts/app/edit", "/console/accounts/app/audit", "/console/log", &key, &delete]
    {
        browser.go(&at(&sidecar, page));
        assert!(!browser.has("img"), "{page}: {}", browser.source());
        assert_ne!(browser.title(), "caught");
    }
    browser.go(&at(&sidecar, "/console/explain?account=app&method=GET&path=%3Cscript%3Ealert(1)%3C/script%3E&subject=%22%3E%3Cimg%3E"));
    assert!(!browser.has("img") && !browser.has("main script"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_key_that_ends_soon_is_marked_and_told_of_in_the_log_once() {
    let upstream = Upstream::start();
    let mut sidecar = Sidecar::behind(&upstream).policy(POLICY).accounts(&["app"]).prepare();
    let soon = sidecar.new_key("app", &["--name", "nightly", "--expires", "5d"]).id;
    sidecar.new_key("app", &["--name", "later", "--expires", "29d"]);
    sidecar.serve();
    let lines = |id: &str| sidecar.log().lines().filter(|line| line.contains("ends soon") && line.contains(id)).count();
    eventually("the log tells of it", || (lines(&soon) > 0).then_some(()));
    for _ in 0..5 {
        let metrics = Call::get("/metrics").send(sidecar.admin()).text();
        assert!(metrics.contains("vicar_keys_expiring{account=\"app\",within=\"7d\"} 1\n"), "{metrics}");
        assert!(metrics.contains("vicar_keys_expiring{account=\"app\",within=\"30d\"} 2\n"), "{metrics}");
    }
    assert_eq!(lines(&soon), 1, "{}", sidecar.log());
    assert_eq!(lines(&sidecar.app().id), 0);
    let visitor = Visitor::sign_in(&sidecar, &token(&sidecar, "zoe", "auditor", &[]));
    let keys = visitor.get("/console/accounts/app").text();
    // Whole days that are left: one less as soon as a second has passed.
    let ends =
        |pill: &str, days: [u8; 2]| days.iter().any(|n| keys.contains(&format!("<span class=\"pill {pill}\">ends in {n} days</span>")));
    assert!(ends("bad", [4, 5]) && ends("warn", [28, 29]), "{keys}");
    let accounts = visitor.get("/console").text();
    assert!(accounts.contains("2 ending soon"), "{accounts}");
}

/// Every page, light and dark and narrow, with nothing that a keyboard or a screen reader would stumble over. Pictures
/// of all of them are kept beside the build.
#[test]
fn every_page_can_be_used_by_everybody() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    for _ in 0..3 {
        sidecar.send(&Call::get(LIST).with(sidecar.app()).on_behalf_of("zoe@acme.example"));
        sidecar.send(&Call::get(LIST).with(sidecar.app()).on_behalf_of("ceo@acme.example"));
    }
    sidecar.record(&sidecar.send(&Call::get("/dataset/2/Ac1/Salaries/list").with(sidecar.key("reporting"))).request_id());
    let old = sidecar.new_key("app", &["--name", "old"]).id;
    sidecar.vicar(&["key", "disable", &old, "--yes"]).succeeded();
    let browser = Browser::open(Scripts::On);
    browser.go(&at(&sidecar, "/console/sign-in"));
    sound(&browser, "sign-in");
    browser.fill("#token", &token(&sidecar, "zoe", "super-admin", &[]));
    browser.follow("button[type=submit]");
    let key = format!("/console/keys/{}", sidecar.app().id);
    let pages = [
        ("accounts", "/console".to_owned()),
        ("new-account", "/console/new-account".to_owned()),
        ("edit-account", "/console/accounts/app/edit".to_owned()),
        ("disable-account", "/console/accounts/app/disable".to_owned()),
        ("delete-account", "/console/accounts/app/delete".to_owned()),
        ("keys", "/console/accounts/app".to_owned()),
        ("new-key", "/console/accounts/app/keys/new".to_owned()),
        ("key", key.clone()),
        ("disable-key", format!("{key}/disable")),
        ("resources", "/console/accounts/app/resources".to_owned()),
        ("resources-of-a-kind", "/console/accounts/app/resources?kind=board".to_owned()),
        ("denials", "/console/accounts/reporting/resources".to_owned()),
        ("account-log", "/console/accounts/app/audit".to_owned()),
        ("log", "/console/log?decision=deny".to_owned()),
        ("explain", "/console/explain?account=app&method=GET&path=/case/2/Ac1/Leads/fields&subject=".to_owned()),
        ("policy", "/console/policy".to_owned()),
        ("not-found", "/console/accounts/nobody".to_owned()),
    ];
    for (name, page) in &pages {
        browser.go(&at(&sidecar, page));
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            if *name == "account-log" {
                browser.run("document.querySelector('#records details')?.setAttribute('open', '')");
            }
            sound(&browser, &format!("{name}-{scheme}"));
            fits(&browser, name);
            browser.picture(&kept(&format!("{name}-{scheme}")));
        }
    }
    browser.width(390);
    for (name, page) in &pages {
        browser.go(&at(&sidecar, page));
        fits(&browser, name);
        // Where tables stand one below the other.
        if ["accounts", "keys", "resources", "account-log"].contains(name) {
            sound(&browser, &format!("{name}-narrow"));
        }
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            browser.picture(&kept(&format!("{name}-narrow-{scheme}")));
        }
    }
    let loud: Vec<String> = browser.complaints().into_iter().filter(|told| !told.contains("404 (Not Found)")).collect();
    assert_eq!(loud, Vec::<String>::new());
}

#[test]
fn names_as_long_as_can_be_fit_wide_windows_and_narrow_ones() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let long = "Unabbreviated".repeat(6);
    sidecar
        .new_key("app", &["--name", "ends soon", "--expires", "5d", "--from", "10.0.0.0/8", "--from", "2001:db8:85a3::8a2e:370:7334/128"]);
    let slug = "a-service-account-whose-id-is-as-long-as-an-id-can-be-and-no-mo";
    sidecar
        .vicar(&["account", "create", slug, "--name", &long, "--description", &"What it is for, in so many words. ".repeat(6)])
        .succeeded();
    let long_key = sidecar.new_key(slug, &["--name", &long]).id;
    let browser = signed_in(&sidecar, &token(&sidecar, "zoe", "super-admin", &[]), Scripts::On);
    let pages = [
        ("long-accounts", "/console".to_owned()),
        ("long-account", format!("/console/accounts/{slug}")),
        ("long-account-empty", format!("/console/accounts/{slug}/resources")),
        ("long-key", format!("/console/keys/{long_key}")),
        ("long-disable", format!("/console/accounts/{slug}/disable")),
    ];
    for size in ["wide", "narrow"] {
        if size == "narrow" {
            browser.width(390);
        }
        for (name, page) in &pages {
            browser.go(&at(&sidecar, page));
            fits(&browser, name);
            browser.picture(&kept(&format!("{name}-{size}")));
        }
    }
}

#[track_caller]
fn fits(browser: &Browser, page: &str) {
    // A busy browser takes a moment until its window is as wide as it was told.
    eventually(&format!("{page} is no wider than its window"), || {
        let over = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
        (over.as_i64().unwrap() <= 0).then_some(())
    });
}

/// What must hold of any page; and what axe finds serious, where `tests/run` has it.
fn sound(browser: &Browser, page: &str) {
    let found = browser.run(
        r#"
        const wrong = [];
        const name = (el) => (el.getAttribute("aria-label") || el.textContent || "").trim();
        if (!document.documentElement.lang) wrong.push("no language");
        if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
        if (document.querySelectorAll("main").length !== 1) wrong.push("not one main");
        if (!document.title) wrong.push("no title");
        for (const el of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
          if (!el.labels.length && !el.getAttribute("aria-label")) wrong.push("no label: " + el.outerHTML);
        for (const el of document.querySelectorAll("a, button, summary")) if (!name(el)) wrong.push("no name: " + el.outerHTML);
        for (const el of document.querySelectorAll("table")) if (!el.querySelector("th[scope=col]")) wrong.push("no headings: " + el.outerHTML.slice(0, 80));
        for (const el of document.querySelectorAll("svg")) if (!el.getAttribute("aria-label") && el.getAttribute("aria-hidden") !== "true") wrong.push("silent picture");
        for (const el of document.querySelectorAll("[style], style, script:not([src])")) wrong.push("inline: " + el.outerHTML.slice(0, 80));
        for (const el of document.querySelectorAll("[tabindex]")) if (el.tabIndex > 0) wrong.push("order of focus: " + el.outerHTML.slice(0, 80));
        const ids = Array.from(document.querySelectorAll("[id]"), (el) => el.id);
        for (const id of ids.filter((id, at) => ids.indexOf(id) !== at)) wrong.push("id twice: " + id);
        return wrong;
        "#,
    );
    assert_eq!(found, json!([]), "{page}");
    let Some(axe) = std::env::var_os("VICAR_TEST_AXE") else { return };
    if browser.run("return typeof axe === 'undefined'") == true {
        browser.run(&std::fs::read_to_string(axe).unwrap());
    }
    let found = browser.run_async(
        r#"
        const done = arguments[arguments.length - 1];
        const told = (violation) => violation.id + ": " + violation.nodes.map((node) => node.html).join(" ");
        axe.run().then((result) => done(result.violations.filter((found) => ["serious", "critical"].includes(found.impact)).map(told)));
        "#,
    );
    assert_eq!(found, json!([]), "{page}");
}

#[test]
fn the_keyboard_is_enough() {
    const TAB: &str = "\u{e004}";
    const ENTER: &str = "\u{e007}";
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let browser = Browser::open(Scripts::On);
    browser.go(&at(&sidecar, "/console"));
    browser.keys(&token(&sidecar, "zoe", "super-admin", &[]));
    browser.keys(ENTER);
    titled(&browser, "Service accounts");
    browser.keys(TAB);
    assert_eq!(browser.run("return document.activeElement.textContent"), "Skip to the content");
    browser.keys(ENTER);
    browser.keys(TAB);
    assert_eq!(browser.run("return document.activeElement.textContent"), "New account", "the skip link leads past the bar");
    let ring = browser.run("return getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(ring, "solid", "where the focus is can be seen");
}

// ===== as somebody who means ill =====

#[test]
fn a_form_of_another_site_or_without_its_token_does_nothing() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let visitor = Visitor::sign_in(&sidecar, &token(&sidecar, "zoe", "super-admin", &[]));
    let host = sidecar.admin().to_string();
    let disable = visitor.fill("/console/accounts/app/disable", "/console/accounts/app/disable", &[]).header("Host", &host);
    let refused = |call: Call| {
        let answer = visitor.send(&call);
        answer.expect_status(403);
        assert!(answer.text().contains("another site"), "{}", answer.text());
    };
    refused(disable.clone().header("Origin", "https://evil.example"));
    refused(disable.clone().header("Origin", "null"));
    refused(disable.clone().header("Origin", &format!("http://{host}.evil.example")));
    refused(disable.clone().header("Sec-Fetch-Site", "cross-site"));
    refused(disable.clone().header("Sec-Fetch-Site", "same-site"));
    let bare = form("/console/accounts/app/disable", &[("revision", "0")]).header("Cookie", &visitor.cookie);
    refused(bare.clone());
    let other = Visitor::sign_in(&sidecar, &token(&sidecar, "ann", "super-admin", &[]));
    let stolen = other.fill("/console/accounts/app/disable", "/console/accounts/app/disable", &[]);
    refused(form("/console/accounts/app/disable", &[("revision", "0"), ("form_token", "0")]).header("Cookie", &visitor.cookie));
    drop(stolen);
    let json = Call::post("/console/accounts/app/disable").header("Cookie", &visitor.cookie).json(&json!({"revision": 0}));
    assert_eq!(visitor.send(&json).status, 400);
    form("/console/sign-in", &[("token", "x")]).header("Origin", "https://evil.example").send(sidecar.admin()).expect_status(403);
    assert!(visitor.get("/console/accounts/app").text().contains(">active<"), "nothing of it was done");
    let honest = visitor.send(&disable.header("Origin", &format!("http://{host}")).header("Sec-Fetch-Site", "same-origin"));
    honest.expect_status(303);
    assert!(visitor.get("/console/accounts/app").text().contains(">disabled<"));
}

#[test]
fn a_session_ends_with_its_admin_and_a_forged_one_is_none() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let visitor = Visitor::sign_in(&sidecar, &token(&sidecar, "zoe", "super-admin", &[]));
    visitor.get("/console").expect_status(200);
    let forged = |cookie: &str| {
        let answer = Call::get("/console").header("Cookie", cookie).send(sidecar.admin());
        answer.expect_status(303);
        assert_eq!(answer.header("location"), Some("/console/sign-in"), "{cookie}");
    };
    forged("vicar=");
    forged(&format!("vicar={}", "0".repeat(64)));
    forged(&format!("{}; vicar={}", visitor.cookie, "0".repeat(64)));
    forged(&visitor.cookie.to_uppercase());
    let api = Call::get("/api/v1/accounts").header("Cookie", &visitor.cookie).send(sidecar.admin());
    api.expect(401, "token-missing");
    sidecar.vicar(&["admin", "revoke", "zoe"]).succeeded();
    eventually("the session ends", || (visitor.get("/console").status == 303).then_some(()));
    let again = visitor.get("/console/accounts/app/audit?decision=deny");
    assert_eq!(again.header("location"), Some("/console/sign-in?next=/console/accounts/app/audit%3Fdecision%3Ddeny"));
}

#[test]
fn signing_out_ends_the_session_for_good() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let visitor = Visitor::sign_in(&sidecar, &token(&sidecar, "zoe", "auditor", &[]));
    let answer = visitor.send(&visitor.fill("/console", "/console/sign-out", &[]));
    answer.expect_status(303);
    assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"));
    visitor.get("/console").expect_status(303);
}

#[test]
fn a_wrong_token_is_told_and_many_are_slowed_down() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let wrong = || form("/console/sign-in", &[("token", "vat_wrong")]).send(sidecar.admin());
    let first = wrong();
    first.expect_status(401);
    assert!(first.text().contains("not good") && first.header("set-cookie").is_none());
    eventually("guessing is slowed down", || (wrong().status == 429).then_some(()));
    Visitor::sign_in(&sidecar, &token(&sidecar, "zoe", "auditor", &[]));
}

#[test]
fn a_form_sent_twice_makes_one_key() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let visitor = Visitor::sign_in(&sidecar, &token(&sidecar, "zoe", "super-admin", &[]));
    let call = visitor.fill("/console/accounts/app/keys/new", "/console/accounts/app/keys/new", &[("name", "twice"), ("expires", "90d")]);
    let first = visitor.send(&call);
    first.expect_status(200);
    assert!(first.text().contains("vsk_") && first.header("cache-control") == Some("no-store"));
    let second = visitor.send(&call);
    second.expect_status(303);
    assert!(visitor.get("/console/accounts/app").text().contains("2 of 50 keys"));
}

#[test]
fn of_two_admins_with_the_same_page_open_the_second_is_told() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let (zoe, ann) = (token(&sidecar, "zoe", "super-admin", &[]), token(&sidecar, "ann", "super-admin", &[]));
    let (zoe, ann) = (Visitor::sign_in(&sidecar, &zoe), Visitor::sign_in(&sidecar, &ann));
    let path = "/console/accounts/app/edit";
    let first = zoe.fill(path, path, &[("name", "By Zoe"), ("description", "")]);
    let second = ann.fill(path, path, &[("name", "By Ann"), ("description", "")]);
    zoe.send(&first).expect_status(303);
    let told = ann.send(&second);
    told.expect_status(412);
    assert!(told.text().contains("changed by somebody else"), "{}", told.text());
    assert!(ann.get("/console/accounts/app").text().contains("By Zoe"));
}

#[test]
fn pages_show_an_admin_no_more_than_the_role_allows() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let own = Visitor::sign_in(&sidecar, &token(&sidecar, "own", "account-admin", &["--accounts", "reporting"]));
    let list = own.get("/console").text();
    assert!(list.contains("/console/accounts/reporting") && !list.contains("/console/accounts/app"), "{list}");
    assert!(!list.contains("/console/policy") && !list.contains("New account"));
    for (path, status) in [
        ("/console/accounts/app", 404),
        ("/console/accounts/app/resources", 404),
        ("/console/accounts/app/audit", 404),
        ("/console/accounts/app/audit/rows?cursor=0_x", 403),
        ("/console/log?account=app", 403),
        ("/console/new-account", 403),
        ("/console/policy", 403),
        ("/console/accounts/reporting/disable", 403),
        ("/console/accounts/reporting/keys/new", 200),
        ("/console/log", 200),
    ] {
        assert_eq!(own.get(path).status, status, "{path}");
    }
    let auditor = Visitor::sign_in(&sidecar, &token(&sidecar, "audit", "auditor", &[]));
    let page = auditor.get("/console/accounts/app").text();
    assert!(!page.contains("New key") && !page.contains("Disable") && !page.contains("Delete"), "{page}");
    auditor.get("/console/accounts/app/keys/new").expect_status(403);
}

#[test]
fn every_answer_carries_a_policy_that_lets_nothing_foreign_in() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream);
    let visitor = Visitor::sign_in(&sidecar, &token(&sidecar, "zoe", "auditor", &[]));
    for path in ["/console", "/console/sign-in", "/console/nothing", "/console/accounts/nobody", "/console/policy"] {
        let answer = visitor.get(path);
        let policy = answer.header("content-security-policy").unwrap_or_else(|| panic!("{path} has no policy"));
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert!(!answer.text().contains("http://") || path == "/console/policy", "{path} loads from elsewhere: {}", answer.text());
    }
    let page = visitor.get("/console").text();
    for (mark, media) in [("rel=\"stylesheet\"", "text/css; charset=utf-8"), ("rel=\"icon\"", "image/svg+xml")] {
        let asset = Call::get(&attribute(&page, mark, "href")).send(sidecar.admin());
        asset.expect_status(200);
        assert_eq!(asset.header("content-type"), Some(media));
        assert!(asset.header("cache-control").unwrap().contains("immutable"));
    }
    Call::get("/console/assets/0/console.css").send(sidecar.admin()).expect_status(404);
}
