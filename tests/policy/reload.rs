//! Edits of a running sidecar: however they are written they are taken whole, and no request is the worse for it.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::support::{Call, Connection, Sidecar, Upstream, eventually, gate::Gate, redis::Redis, sidecar::VICAR};

const VENDORS: &str = "/dataset/2/Ac1/Vendors/list";

/// One edition of all three files: what reads and who may differ from one to the other in all of them.
struct Edition {
    name: &'static str,
    resource: &'static str,
    catalog: &'static str,
    policy: &'static str,
}

const EDITIONS: [Edition; 2] = [
    Edition {
        name: "first",
        resource: "dataset:Vendors",
        catalog: "version: 1\nkinds: {dataset: {title: Datasets}}\nendpoints:\n  - {request: \"GET /dataset/2/{a}/{d}/list\", resource: \"dataset:{d}\", action: list}\n",
        policy: "version: 1\nservice_accounts:\n  app: {shares: [{resource: \"dataset:*\", actions: [list]}]}\n",
    },
    Edition {
        name: "second",
        resource: "report:Vendors",
        catalog: "version: 1\nkinds: {report: {title: Reports}}\nendpoints:\n  - {request: \"GET /dataset/2/{a}/{d}/list\", resource: \"report:{d}\", action: export}\n",
        policy: "version: 1\nservice_accounts:\n  app: {shares: [{resource: \"report:*\", actions: [export]}]}\n",
    },
];

/// `..data`, as Kubernetes lays a ConfigMap: each file is a symlink through it, and it is swapped by a rename.
fn lay(folder: &Path, edition: &Edition, number: usize) {
    let settings = fs::read_to_string(folder.join("vicar.yaml")).unwrap();
    let data = folder.join(format!("..data-{number}"));
    fs::create_dir(&data).unwrap();
    let (head, tail) = settings.split_once("X-Edition: ").unwrap();
    let (_, tail) = tail.split_once('}').unwrap();
    fs::write(data.join("vicar.yaml"), format!("{head}X-Edition: {}}}{tail}", edition.name)).unwrap();
    fs::write(data.join("policy.yaml"), edition.policy).unwrap();
    fs::write(data.join("catalog.yaml"), edition.catalog).unwrap();
    symlink(&data, folder.join("..new")).unwrap();
    fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
}

fn laid(upstream: &Upstream) -> Sidecar {
    let mut sidecar = Sidecar::behind(upstream)
        .set("impersonation", "{upstream_headers: {X-Forwarded-Account: \"{account}\", X-Edition: first}}")
        .policy(EDITIONS[0].policy)
        .catalog(EDITIONS[0].catalog)
        .prepare();
    lay(sidecar.folder(), &EDITIONS[0], 0);
    for name in ["vicar.yaml", "policy.yaml", "catalog.yaml"] {
        fs::remove_file(sidecar.folder().join(name)).unwrap();
        symlink(Path::new("..data").join(name), sidecar.folder().join(name)).unwrap();
    }
    sidecar.serve();
    sidecar
}

#[test]
fn under_load_no_request_is_dropped_and_none_sees_half_an_edit() {
    let upstream = Upstream::start();
    let sidecar = laid(&upstream);
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (over, address) = (over.clone(), sidecar.address());
            let call = Call::get(VENDORS).with(sidecar.app());
            thread::spawn(move || {
                let mut connection = Connection::open(address);
                let mut answered = 0;
                while !over.load(Ordering::SeqCst) {
                    connection.send(call.bytes());
                    connection.answer().expect_status(200);
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let of_edition = |edition: &Edition| upstream.seen().last().filter(|seen| seen.header("X-Edition") == Some(edition.name)).map(drop);
    for number in 1..=5 {
        let edition = &EDITIONS[number % 2];
        lay(sidecar.folder(), edition, number);
        eventually("the edit is in force", || of_edition(edition));
    }
    over.store(true, Ordering::SeqCst);
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();

    let seen: HashMap<String, String> = upstream
        .seen()
        .iter()
        .map(|seen| (seen.header("X-Request-Id").unwrap().to_owned(), seen.header("X-Edition").unwrap().to_owned()))
        .collect();
    assert_eq!(seen.len(), answered);
    let mut policies: HashMap<&str, String> = HashMap::new();
    let records = eventually("every request has its record", || {
        let records: Vec<_> = sidecar.records().into_iter().filter(|record| record["kind"] == "access").collect();
        (records.len() == answered).then_some(records)
    });
    for record in records {
        let edition = EDITIONS.iter().find(|edition| edition.name == seen[record["request_id"].as_str().unwrap()]).unwrap();
        assert_eq!((&record["resource"], &record["decision"]), (&edition.resource.into(), &"allow".into()), "{record}");
        let policy = record["policy"].as_str().unwrap();
        assert_eq!(policies.entry(edition.name).or_insert_with(|| policy.to_owned()), policy, "{record}");
    }
    assert_eq!(policies.len(), 2);
    let log = sidecar.records();
    let reloads = log.iter().filter(|record| record["action"] == "reload");
    let [first, second] = EDITIONS.map(|edition| policies[edition.name].clone());
    assert!(reloads.clone().count() >= 5, "{log:?}");
    assert!(reloads.clone().any(|record| record["detail"].as_str().unwrap().contains(&format!("{first} replaced by {second}"))), "{log:?}");
}

#[test]
fn an_edit_is_taken_however_it_is_written() {
    let upstream = Upstream::start();
    let refuses = EDITIONS[0].policy.replace("[list]", "[read]").replace("dataset:*", "dataset:1");
    let catalog = EDITIONS[0]
        .catalog
        .replace("endpoints:\n", "endpoints:\n  - {request: \"GET /dataset/2/{a}/{d}/one\", resource: \"dataset:{d}\", action: read}\n");
    let sidecar = Sidecar::behind(&upstream).policy(EDITIONS[0].policy).catalog(&catalog).start();
    let file = sidecar.folder().join("policy.yaml");
    let status = |wanted: u16| {
        eventually("the edit is in force", || (sidecar.send(&Call::get(VENDORS).with(sidecar.app())).status == wanted).then_some(()));
    };
    status(200);
    // In place.
    fs::write(&file, &refuses).unwrap();
    status(403);
    // By a rename.
    sidecar.write_policy(EDITIONS[0].policy);
    status(200);
    // Away, and back after a while: meanwhile what was in force stays.
    fs::rename(&file, sidecar.folder().join("aside")).unwrap();
    eventually("it is told", || sidecar.records().iter().any(|record| record["action"] == "reload-refused").then_some(()));
    status(200);
    fs::write(sidecar.folder().join("aside"), &refuses).unwrap();
    fs::rename(sidecar.folder().join("aside"), &file).unwrap();
    status(403);
    // Its time is set back and its size is the same: the time of that change tells, and SIGHUP makes it look at once.
    let same = EDITIONS[0].policy.replace("dataset:*", "dataset:?");
    let (open, shut) = (same.replace('?', "*"), same.replace('?', "1"));
    sidecar.write_policy(&shut);
    status(403);
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    let edited = fs::File::options().write(true).open(&file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&edited, open.as_bytes(), 0).unwrap();
    edited.set_modified(modified).unwrap();
    sidecar.signal(rustix::process::Signal::HUP);
    status(200);
    // A folder in its place.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    eventually("it is told", || sidecar.log().contains("policy.yaml").then_some(()));
    status(200);
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_edits_are_taken_again_once_it_has_gone() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).policy(EDITIONS[0].policy).catalog(EDITIONS[0].catalog).start();
    let status = |wanted: u16| {
        eventually("the edit is in force", || (sidecar.send(&Call::get(VENDORS).with(sidecar.app())).status == wanted).then_some(()));
    };
    for file in ["policy.yaml", "catalog.yaml", "vicar.yaml"] {
        let path = sidecar.folder().join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        eventually("it is told", || {
            let reload = Call::get("/readyz").send(sidecar.admin()).json()["reload"]["last_error"]["first"].clone();
            reload.as_str().is_some_and(|first| first.contains(file) && first.contains("pipe")).then_some(())
        });
        assert_eq!(sidecar.send(&Call::get(VENDORS).with(sidecar.app())).status, 200, "what was in force stays");
        fs::remove_file(&path).unwrap();
        fs::write(&path, text).unwrap();
        sidecar.write_policy("version: 1\n");
        status(403);
        sidecar.write_policy(EDITIONS[0].policy);
        status(200);
    }
}

#[test]
fn what_only_a_start_takes_in_is_said_and_mistakes_are_told_without_warnings() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let ready = || Call::get("/readyz").send(sidecar.admin()).json()["reload"].clone();
    assert_eq!(ready()["at_next_start"], serde_json::json!([]));
    let settings = fs::read_to_string(sidecar.folder().join("vicar.yaml")).unwrap();
    let edited = settings.replace("directory: {file: keys.yaml}", "directory: {file: others.yaml}");
    sidecar.write("vicar.yaml", &format!("{edited}limits: {{accounts: 3, body: 1KiB}}\n"));
    eventually("it is said", || (ready()["at_next_start"] == serde_json::json!(["directory", "limits"])).then_some(()));
    assert!(sidecar.log().contains("take effect at the next start"), "{}", sidecar.log());
    sidecar.write("vicar.yaml", &format!("{settings}limits: {{body: 1KiB}}\n"));
    eventually("it is over", || (ready()["at_next_start"] == serde_json::json!([])).then_some(()));
    // A kind that nothing concerns is a warning, a share of what nothing does is the mistake.
    let catalog = "version: 1\nkinds: {user: {title: Users}, dataset: {title: Datasets}}\nendpoints:\n  - {request: \"GET /user\", resource: user, action: list}\n";
    sidecar.write("catalog.yaml", catalog);
    sidecar.write_policy("version: 1\nservice_accounts: {app: {shares: [{resource: user, actions: [read]}]}}\n");
    let refused = eventually("it is refused", || {
        Some(ready()["last_error"].clone()).filter(|refused| refused["first"].as_str().is_some_and(|first| first.contains("policy.yaml:2")))
    });
    assert_eq!(refused["mistakes"], 1, "{refused}");
}

#[test]
fn what_is_edited_while_a_sidecar_starts_is_taken_once_it_serves() {
    let upstream = Upstream::start();
    let redis = Redis::start();
    let gate = Gate::to(redis.port());
    let refuses = EDITIONS[0].policy.replace("[list]", "[read]").replace("dataset:*", "dataset:1");
    let catalog = EDITIONS[0]
        .catalog
        .replace("endpoints:\n", "endpoints:\n  - {request: \"GET /dataset/2/{a}/{d}/one\", resource: \"dataset:{d}\", action: read}\n");
    let mut sidecar = Sidecar::behind(&upstream)
        .set("directory", &format!("{{redis: \"{}\", timeout: 10s}}", gate.url()))
        .policy(&refuses)
        .catalog(&catalog)
        .prepare();
    // It reads its small files while it asks for its directory, and watches them only when that has answered.
    gate.hold();
    sidecar.launch();
    eventually("it waits for its directory", || (gate.held() > 0).then_some(()));
    // No answer shows that they have been read. Were this too short, the test would not see what it is for; it never fails for it.
    thread::sleep(std::time::Duration::from_millis(300));
    sidecar.write_policy(EDITIONS[0].policy);
    gate.release();
    eventually("it serves under the edit", || {
        let answer = std::net::TcpStream::connect(sidecar.address()).ok().map(|_| sidecar.send(&Call::get(VENDORS).with(sidecar.app())));
        answer.filter(|answer| answer.status == 200)
    });
}

#[test]
fn a_log_beside_the_settings_does_not_feed_itself() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).set("log", "{format: json, level: trace}").start();
    sidecar.send(&Call::get(VENDORS).with(sidecar.app())).expect_status(200);
    sidecar.write_policy(&fs::read_to_string(sidecar.folder().join("policy.yaml")).unwrap());
    eventually("the edit is in force", || sidecar.log().contains("an edit is in force").then_some(()));
    assert!(!sidecar.log().contains("inotify event"), "{VICAR} logs events of its own log");
}
