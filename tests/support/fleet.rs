//! Several Redis servers that belong together: under Sentinel, or as a Cluster.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    Redis, eventually,
    redis::{ask, server},
    sidecar::free_port,
};

/// The service that the sentinels watch.
const SERVICE: &str = "vicar-test";

/// A master, two replicas and three sentinels.
#[derive(Debug)]
pub struct Sentinels {
    servers: Vec<Redis>,
    sentinels: Vec<(u16, Child, TempDir)>,
}

/// Replicas sign in as a user of their own, so that a test can keep them from it.
const REPLICATING: [&str; 13] = [
    "--repl-diskless-sync-delay",
    "0",
    "--masteruser",
    "replica",
    "--masterauth",
    "x",
    "--user",
    "replica",
    "on",
    ">x",
    "~*",
    "&*",
    "+@all",
];

impl Sentinels {
    /// Starts them, and waits until the sentinels know all there is to know. They are slow to take the master for dead:
    /// on a loaded machine it may only be late.
    pub fn start() -> Self {
        Self::that_wait(Duration::from_secs(4))
    }

    /// The same, with sentinels that take a silent master for dead after so long.
    pub fn that_wait(down_after: Duration) -> Self {
        let master = Redis::with(&REPLICATING);
        let of = format!("127.0.0.1 {}", master.port());
        let replica = || Redis::with(&[&["--replicaof", &of], REPLICATING.as_slice()].concat());
        let servers = vec![replica(), replica(), master];
        let master = servers[2].port();
        let sentinels = (0..3).map(|_| sentinel(master, down_after)).collect();
        let fleet = Self { servers, sentinels };
        eventually("the sentinels know each other and the replicas", || {
            let known = |port: u16| {
                let state = ask(port, &["SENTINEL", "MASTER", SERVICE])?;
                let field = |name: &str| state.split("\r\n").skip_while(|word| *word != name).nth(2).map(str::to_owned);
                (field("num-other-sentinels")? == "2" && field("num-slaves")? == "2" && field("flags")? == "master").then_some(())
            };
            fleet.sentinels.iter().all(|(port, ..)| known(*port).is_some()).then_some(())
        });
        fleet
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|(port, ..)| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/{SERVICE}", hosts.join(","))
    }

    /// Waits until the replicas have all that the master has.
    pub fn replicated(&self) {
        let [replicas @ .., master] = self.servers.as_slice() else { unreachable!("a master is always there") };
        caught_up(master, replicas);
    }

    /// From now on the replicas get nothing from the master; the sentinels see no harm in that.
    pub fn cut_replication(&self) {
        assert!(self.servers[2].command(&["ACL", "SETUSER", "replica", "off"]).starts_with("+OK"));
        self.servers[2].command(&["CLIENT", "KILL", "USER", "replica"]);
        eventually("the replicas are cut off", || {
            let linked = |replica: &Redis| replica.command(&["INFO", "replication"]).contains("master_link_status:up");
            (!self.servers[..2].iter().any(linked)).then_some(())
        });
    }

    pub fn kill_master(&mut self) {
        self.servers[2].kill();
    }

    pub fn freeze_master(&self) {
        self.servers[2].freeze();
    }

    pub fn thaw(&self) {
        self.servers[2].thaw();
    }
}

/// Waits until each replica has come as far as the master is now. `WAIT` would not do: it waits for what its own
/// connection wrote, which is nothing.
fn caught_up(master: &Redis, replicas: &[Redis]) {
    let offset = |node: &Redis, name: &str| -> Option<u64> {
        node.command(&["INFO", "replication"]).lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
    };
    let target = offset(master, "master_repl_offset:").unwrap();
    eventually("the replicas have caught up", || {
        replicas.iter().all(|replica| offset(replica, "slave_repl_offset:").is_some_and(|at| at >= target)).then_some(())
    });
}

fn sentinel(master: u16, down_after: Duration) -> (u16, Child, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let file = folder.path().join("sentinel.conf");
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {SERVICE} 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds {SERVICE} {}\nsentinel failover-timeout {SERVICE} 5000\n",
        folder.path().display(),
        down_after.as_millis()
    );
    fs::write(&file, text).unwrap();
    let child = Command::new(server()).arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    (port, child, folder)
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for (_, sentinel, _) in &mut self.sentinels {
            let _ = sentinel.kill();
            let _ = sentinel.wait();
        }
    }
}

/// Three masters, each with a replica.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Redis>,
}

const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

impl Cluster {
    /// Starts it, and waits until every node says that all is well.
    pub fn start() -> Self {
        let node = |_| {
            // The bus port lies 10,000 above unless said, which may be taken.
            let bus = free_port().to_string();
            Redis::with(&[
                "--cluster-enabled",
                "yes",
                // Less, and a loaded machine sees nodes fail that are well.
                "--cluster-node-timeout",
                "5000",
                "--cluster-port",
                &bus,
                "--repl-diskless-sync-delay",
                "0",
            ])
        };
        let nodes: Vec<Redis> = (0..6).map(node).collect();
        let cluster = Self { nodes };
        for (master, (first, last)) in SLOTS.iter().enumerate() {
            cluster.ok(master, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            cluster.ok(master, &["CLUSTER", "SET-CONFIG-EPOCH", &(master + 1).to_string()]);
        }
        for node in &cluster.nodes[1..] {
            cluster.ok(0, &["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), node.option("--cluster-port")]);
        }
        for replica in 3..6 {
            let master = cluster.id(replica - 3);
            eventually("the nodes know each other", || {
                cluster.nodes[replica].command(&["CLUSTER", "REPLICATE", &master]).starts_with("+OK").then_some(())
            });
        }
        eventually("the cluster is well", || {
            let well = |node: &Redis| {
                let info = node.command(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6") && info.contains("cluster_size:3")
            };
            let linked = |node: &Redis| node.command(&["INFO", "replication"]).contains("master_link_status:up");
            (cluster.nodes.iter().all(well) && cluster.nodes[3..].iter().all(linked)).then_some(())
        });
        cluster
    }

    /// An address that names the masters.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes[..3].iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    pub fn port(&self, node: usize) -> u16 {
        self.nodes[node].port()
    }

    /// The master that has the directory's slot.
    pub fn owner(&self) -> usize {
        self.owner_of("vicar:directory")
    }

    /// The master that has the slot of a key.
    pub fn owner_of(&self, key: &str) -> usize {
        let slot = self.slot_of(key);
        SLOTS.iter().position(|(first, last)| (*first..=*last).contains(&slot)).unwrap()
    }

    pub fn kill_owner(&mut self) {
        self.kill_owner_of("vicar:directory");
    }

    pub fn kill_owner_of(&mut self, key: &str) {
        let owner = self.owner_of(key);
        self.nodes[owner].kill();
    }

    /// Waits until the owner's replica has all that it has.
    pub fn replicated(&self) {
        let owner = self.owner();
        caught_up(&self.nodes[owner], &self.nodes[owner + 3..=owner + 3]);
    }

    /// The slot is about to go from one master to another.
    pub fn begin_move(&self, from: usize, to: usize) {
        let slot = self.slot().to_string();
        self.ok(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id(from)]);
        self.ok(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id(to)]);
    }

    /// What is in it goes.
    pub fn move_data(&self, from: usize, to: usize) {
        self.ok(from, &["MIGRATE", "127.0.0.1", &self.port(to).to_string(), "vicar:directory", "0", "10000"]);
    }

    /// It is the other's.
    pub fn end_move(&self, to: usize) {
        let (slot, id) = (self.slot().to_string(), self.id(to));
        for node in std::iter::once(to).chain((0..3).filter(|node| *node != to)) {
            self.ok(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
    }

    fn slot(&self) -> u16 {
        self.slot_of("vicar:directory")
    }

    fn slot_of(&self, key: &str) -> u16 {
        let alive = self.nodes.iter().find_map(|node| ask(node.port(), &["CLUSTER", "KEYSLOT", key])).unwrap();
        alive.trim().trim_start_matches(':').parse().unwrap()
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].command(&["CLUSTER", "MYID"]).split("\r\n").nth(1).unwrap().to_owned()
    }

    fn ok(&self, node: usize, words: &[&str]) {
        let reply = self.nodes[node].command(words);
        assert!(reply.starts_with("+OK"), "{words:?}: {reply}");
    }
}
