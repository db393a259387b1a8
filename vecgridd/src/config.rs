//! Every setting: flag, then `VECGRID_*` variable, then TOML file, then default.
//!
//! [`Options`] is what a user may say, [`Config`] what the daemon works with: checked, complete.
//! Limits of the doors have their reasons in `api/limits.rs`, budgets of the disk in
//! `storage/rocks.rs`.

mod arguments;
mod choices;
mod copies;
mod peers;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

pub use arguments::{Arguments, RecoverOptions, Verb};
pub use choices::{Discovery, LogStyle, OnMinority};
pub use copies::CopyConfig;
pub use peers::{PeerConfig, Trust};

/// What members send each other has room for this, and no more.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// What a user may say. Every field is optional: the sources are laid over each other.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// TOML file with any of these settings
    #[arg(long, env = "VECGRID_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// One member with temporary data, removed at exit; prints what to try next
    #[arg(long, num_args = 0..=1, default_missing_value = "true", env = "VECGRID_DEV")]
    pub dev: Option<bool>,
    /// Where the data is kept
    #[arg(long, env = "VECGRID_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Name of the grid [default: default]
    #[arg(long, env = "VECGRID_GRID", value_name = "NAME")]
    pub grid: Option<String>,
    /// Name of this member, for people [default: the host's name]
    #[arg(long, env = "VECGRID_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Create a new grid if the data directory holds none
    #[arg(long, num_args = 0..=1, default_missing_value = "true", env = "VECGRID_BOOTSTRAP")]
    pub bootstrap: Option<bool>,
    /// Create a new grid when this many members without data see each other: all of those that are started for it
    #[arg(long, env = "VECGRID_BOOTSTRAP_EXPECT", value_name = "N")]
    pub bootstrap_expect: Option<usize>,
    /// How members find each other: `seeds`; `mdns` = by multicast, and at seeds if there are any; or `none` for a
    /// member that is alone [default: seeds, if there are any]
    #[arg(long, env = "VECGRID_DISCOVERY", value_name = "HOW")]
    pub discovery: Option<Discovery>,
    /// Addresses of members, comma-separated: a member without data joins their grid. Any member then
    /// takes any request, and each holds its share of the rows
    #[arg(long, env = "VECGRID_SEEDS", value_name = "HOST:PORT", value_delimiter = ',')]
    pub seeds: Option<Vec<String>>,
    /// Where other members connect [default: 127.0.0.1:5701 with --seeds; none for a member that is alone]
    #[arg(long, env = "VECGRID_PEER_LISTEN", value_name = "ADDR")]
    pub peer_listen: Option<SocketAddr>,
    /// What other members are told to connect to, as 10.0.0.7:5701 or a host name [default: found out]
    #[arg(long, env = "VECGRID_ADVERTISE", value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Where this member is, as eu-1a: members of one zone may fail together, so voters and copies are spread
    #[arg(long, env = "VECGRID_ZONE", value_name = "ZONE")]
    pub zone: Option<String>,
    /// The machine this member runs on, where its name does not tell (in a container): copies are kept on different
    /// machines where there are several [default: the host's name]
    #[arg(long, env = "VECGRID_HOST", value_name = "HOST")]
    pub host: Option<String>,
    /// How many partitions this member holds, and leads, beside members of weight 1: twice as many with 2, as far as the
    /// number of members and zones lets it. 1 to 100 [default: 1]
    #[arg(long, env = "VECGRID_WEIGHT", value_name = "N")]
    pub weight: Option<u32>,
    /// Of a new grid: copies of each row besides the first, on other members, 0 to 4. An acknowledged write is on the
    /// disks of all of them. `vecgrid copies` changes it later [default: 1]
    #[arg(long, env = "VECGRID_BACKUPS", value_name = "N")]
    pub backups: Option<u8>,
    /// Of a new grid: members that must have a write on their disks before it is acknowledged, also while others are
    /// away; with fewer, writes are refused. 1 to backups + 1 [default: 1]
    #[arg(long, env = "VECGRID_MIN_IN_SYNC", value_name = "N")]
    pub min_in_sync: Option<u8>,
    /// How long a member may be away, seconds, before others get its copies [default: 300]
    #[arg(long, env = "VECGRID_RETURN_LEASE", value_name = "SECONDS")]
    pub return_lease: Option<u64>,
    /// A secret that all members share, at least 32 bytes (`openssl rand -hex 32`): who knows it is a member, and what
    /// members say to each other is encrypted
    #[arg(long, env = "VECGRID_GRID_SECRET_FILE", value_name = "FILE")]
    pub grid_secret_file: Option<PathBuf>,
    /// Or certificates: this member's, in PEM, valid for the address it is reached at
    #[arg(long, env = "VECGRID_PEER_CERT", value_name = "FILE")]
    pub peer_cert: Option<PathBuf>,
    /// Key of --peer-cert, in PEM
    #[arg(long, env = "VECGRID_PEER_KEY", value_name = "FILE")]
    pub peer_key: Option<PathBuf>,
    /// Authority that signs the certificates of members and of nobody else, in PEM
    #[arg(long, env = "VECGRID_PEER_CA", value_name = "FILE")]
    pub peer_ca: Option<PathBuf>,
    /// Listen to members beyond this machine without knowing who they are: only where nobody else can connect
    #[arg(long, num_args = 0..=1, default_missing_value = "true", env = "VECGRID_INSECURE_PEERS")]
    pub insecure_peers: Option<bool>,
    /// Partitions of a new grid, fixed for ever, 1 to 1024 [default: 271]
    #[arg(long, env = "VECGRID_PARTITIONS", value_name = "N")]
    pub partitions: Option<u16>,
    /// Local API over TCP, loopback only unless --allowed-hosts [default: 127.0.0.1:5700]
    #[arg(long, env = "VECGRID_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Local API over a Unix socket; `none` for no socket [default: /run/vecgridd/vecgridd.sock, else in the data directory]
    #[arg(long, env = "VECGRID_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// /metrics, /livez and /readyz for the platform [default: 0.0.0.0:5702]
    #[arg(long, env = "VECGRID_ADMIN_LISTEN", value_name = "ADDR")]
    pub admin_listen: Option<SocketAddr>,
    /// Host names that TCP requests may use besides localhost; `*` = any
    #[arg(long, env = "VECGRID_ALLOWED_HOSTS", value_name = "HOST", value_delimiter = ',')]
    pub allowed_hosts: Option<Vec<String>>,
    /// Web origins whose pages may call the local API over TCP
    #[arg(long, env = "VECGRID_ALLOWED_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub allowed_origins: Option<Vec<String>>,
    /// Written when ready: {"api","socket","admin","pid"} as JSON, for scripts that use port 0
    #[arg(long, env = "VECGRID_PORT_FILE", value_name = "FILE")]
    pub port_file: Option<PathBuf>,
    /// Largest request and answer, bytes, at most 67108864 [default: 67108864]
    #[arg(long, env = "VECGRID_MAX_MESSAGE_BYTES", value_name = "BYTES")]
    pub max_message_bytes: Option<usize>,
    /// Bytes of writes between the door and the answer [default: 134217728]
    #[arg(long, env = "VECGRID_WRITE_BYTES", value_name = "BYTES")]
    pub write_bytes: Option<usize>,
    /// Deadline of a request that names none, milliseconds [default: 10000]
    #[arg(long, env = "VECGRID_DEFAULT_DEADLINE_MS", value_name = "MS")]
    pub default_deadline_ms: Option<u64>,
    /// Rows per collection that may wait for the graph before writes slow down [default: 262144]
    #[arg(long, env = "VECGRID_TAIL_ROWS", value_name = "ROWS")]
    pub tail_rows: Option<usize>,
    /// Threads that build a collection's graph [default: half of the cores]
    #[arg(long, env = "VECGRID_BUILD_THREADS", value_name = "N")]
    pub build_threads: Option<usize>,
    /// What each of these gets of a core that a search wants, too, 0 to 0.5 = as much as the search [default: 0.25]
    #[arg(long, env = "VECGRID_BUILD_SHARE", value_name = "SHARE")]
    pub build_share: Option<f64>,
    /// Threads that search [default: the cores]
    #[arg(long, env = "VECGRID_SEARCH_THREADS", value_name = "N")]
    pub search_threads: Option<usize>,
    /// Share of searches whose recall is checked in the background, 0 to 1 [default: 0.01]
    #[arg(long, env = "VECGRID_RECALL_CHECKS", value_name = "SHARE")]
    pub recall_checks: Option<f64>,
    /// Share of one core that these checks may take, 0 to 1 [default: 0.02]
    #[arg(long, env = "VECGRID_RECALL_CPU", value_name = "SHARE")]
    pub recall_cpu: Option<f64>,
    /// Memory of RocksDB's memory tables, bytes [default: 201326592]
    #[arg(long, env = "VECGRID_MEMTABLE_BYTES", value_name = "BYTES")]
    pub memtable_bytes: Option<usize>,
    /// Memory of RocksDB's block cache, bytes [default: 134217728]
    #[arg(long, env = "VECGRID_BLOCK_CACHE_BYTES", value_name = "BYTES")]
    pub block_cache_bytes: Option<usize>,
    /// Records per partition kept in the log for members that were away [default: 1024]
    #[arg(long, env = "VECGRID_LOG_RECORDS", value_name = "N")]
    pub log_records: Option<usize>,
    /// Bytes kept in the logs of all partitions together [default: 268435456]
    #[arg(long, env = "VECGRID_LOG_BYTES", value_name = "BYTES")]
    pub log_bytes: Option<u64>,
    /// Rows that leave this member for copies on others, bytes per second, at least 65536 [default: 67108864]
    #[arg(long, env = "VECGRID_COPY_RATE", value_name = "BYTES")]
    pub copy_rate: Option<u64>,
    /// Partitions that this member copies to others at a time, at least 1 [default: 4]
    #[arg(long, env = "VECGRID_COPIES_AT_ONCE", value_name = "N")]
    pub copies_at_once: Option<usize>,
    /// Least seconds between two checkpoints of a collection's index, which make restarts quick; 0 = none are written [default: 30]
    #[arg(long, env = "VECGRID_CHECKPOINT_SECONDS", value_name = "S")]
    pub checkpoint_seconds: Option<u64>,
    /// How often the rows of each partition are read and compared with those of its copies and with the index, seconds;
    /// 0 = only when digests differ, or by `vecgrid verify` [default: 86400]
    #[arg(long, env = "VECGRID_VERIFY_SECONDS", value_name = "S")]
    pub verify_seconds: Option<u64>,
    /// What a member does that reaches no majority of the voters. `refuse`: no writes, and no reads from copies that may be
    /// far behind; `read-only`: no writes, and reads from every copy here, however old it is by then [default: refuse]
    #[arg(long, env = "VECGRID_ON_MINORITY", value_name = "WHAT")]
    pub on_minority: Option<OnMinority>,
    /// When asked to stop (SIGTERM), leave the grid for good: first give the partitions to other members, and serve
    /// meanwhile. A second SIGTERM stops at once. Whoever starts again before it has left stays a member
    #[arg(long, num_args = 0..=1, default_missing_value = "true", env = "VECGRID_DRAIN")]
    pub drain: Option<bool>,
    /// How long that may take, seconds; then it stops as if for a restart [default: 600]
    #[arg(long, env = "VECGRID_DRAIN_TIMEOUT", value_name = "SECONDS")]
    pub drain_timeout: Option<u64>,
    /// What to log, as `info` or `info,vecgridd::index=debug` [default: info,hnsw_rs=warn,openraft=off]
    #[arg(long, env = "VECGRID_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How to log: `auto` is text on a terminal and JSON elsewhere [default: auto]
    #[arg(long, env = "VECGRID_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogStyle>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {0}: {1}")]
    File(PathBuf, String),
    /// A value makes no sense; the text says what would.
    #[error("{0}")]
    Value(String),
}

/// What the daemon works with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Temporary data, and a hint what to try next.
    pub dev: bool,
    /// Where the data is kept.
    pub data_dir: PathBuf,
    /// Name of the grid.
    pub grid: String,
    /// Name of this member.
    pub node_name: String,
    /// A new grid may be created.
    pub bootstrap: bool,
    /// A new grid is created when this many fresh members see each other.
    pub bootstrap_expect: Option<usize>,
    /// Other members; `None` = this one is alone.
    pub peers: Option<PeerConfig>,
    /// Where this member is; empty = unknown.
    pub zone: String,
    /// The machine it runs on.
    pub host: String,
    /// Its share beside members of weight 1.
    pub weight: u32,
    /// How many copies there are, and how they are made.
    pub copies: CopyConfig,
    /// Partitions of a new grid.
    pub partitions: u16,
    /// Local API over TCP.
    pub listen: SocketAddr,
    /// Local API over a Unix socket.
    pub socket: Option<PathBuf>,
    /// For the platform.
    pub admin_listen: SocketAddr,
    /// See [`Options`].
    pub allowed_hosts: Vec<String>,
    /// See [`Options`].
    pub allowed_origins: Vec<String>,
    /// See [`Options`].
    pub port_file: Option<PathBuf>,
    /// Largest request and answer.
    pub max_message_bytes: usize,
    /// Deadline of a request that names none.
    pub default_deadline: Duration,
    /// Bytes of writes between the door and the answer.
    pub write_bytes: usize,
    /// Rows per collection that may wait for the graph; `None` = the index's own default.
    pub tail_rows: Option<usize>,
    /// Threads that build a graph.
    pub build_threads: usize,
    /// What each of them gets of a core that a search wants, too.
    pub build_share: f64,
    /// Threads that search.
    pub search_threads: usize,
    /// Share of searches whose recall is checked.
    pub recall_checks: f64,
    /// Share of one core that this may take.
    pub recall_cpu: f64,
    /// Memory tables.
    pub memtable_bytes: usize,
    /// Block cache.
    pub block_cache_bytes: usize,
    /// Records kept per partition.
    pub log_records: usize,
    /// Bytes kept in all logs.
    pub log_bytes: u64,
    /// Least time between two checkpoints of an index; `None` = there are none.
    pub checkpoint_pause: Option<Duration>,
    /// How often all rows are read and compared; `None` = only for a reason.
    pub verify_every: Option<Duration>,
    /// What it does without a majority.
    pub on_minority: OnMinority,
    /// Leaves the grid when it is told to stop, and may take this long; `None` = a stop is for a restart.
    pub drain: Option<Duration>,
    /// Keeps the temporary folder of `--dev` until the daemon has ended.
    pub temporary: Option<TemporaryDir>,
}

impl Config {
    /// Whether a member without data has a grid to look for, or others to found one with.
    pub fn may_find_a_grid(&self) -> bool {
        self.has_seeds() || self.is_multicast() || self.bootstrap_expect.is_some()
    }

    /// Whether addresses were named at which other members may be.
    pub fn has_seeds(&self) -> bool {
        self.peers.as_ref().is_some_and(|peers| !peers.seeds.is_empty())
    }

    /// Whether other members are looked for by multicast.
    pub fn is_multicast(&self) -> bool {
        self.peers.as_ref().is_some_and(|peers| peers.multicast)
    }
}

/// A folder that is removed when this is dropped.
#[derive(Debug, Clone)]
pub struct TemporaryDir(std::sync::Arc<RemoveOnDrop>);

#[derive(Debug)]
struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, dir = %self.0.display(), "the temporary data could not be removed");
        }
    }
}

impl TemporaryDir {
    fn new() -> std::io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("vecgridd-dev-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir)?;
        Ok(Self(std::sync::Arc::new(RemoveOnDrop(dir))))
    }
}

impl Options {
    /// These settings over those of the file they name.
    ///
    /// # Errors
    /// When the file cannot be read or has an unknown key.
    pub fn with_file(self) -> Result<Self, ConfigError> {
        let Some(path) = &self.config else { return Ok(self) };
        let problem = |e: &dyn std::fmt::Display| ConfigError::File(path.clone(), e.to_string());
        let text = std::fs::read_to_string(path).map_err(|e| problem(&e))?;
        let file: Self = toml::from_str(&text).map_err(|e| problem(&e))?;
        Ok(self.over(file))
    }

    fn over(self, file: Self) -> Self {
        Self {
            config: self.config,
            dev: self.dev.or(file.dev),
            data_dir: self.data_dir.or(file.data_dir),
            grid: self.grid.or(file.grid),
            node_name: self.node_name.or(file.node_name),
            bootstrap: self.bootstrap.or(file.bootstrap),
            bootstrap_expect: self.bootstrap_expect.or(file.bootstrap_expect),
            discovery: self.discovery.or(file.discovery),
            seeds: self.seeds.or(file.seeds),
            peer_listen: self.peer_listen.or(file.peer_listen),
            advertise: self.advertise.or(file.advertise),
            zone: self.zone.or(file.zone),
            host: self.host.or(file.host),
            weight: self.weight.or(file.weight),
            backups: self.backups.or(file.backups),
            min_in_sync: self.min_in_sync.or(file.min_in_sync),
            return_lease: self.return_lease.or(file.return_lease),
            grid_secret_file: self.grid_secret_file.or(file.grid_secret_file),
            peer_cert: self.peer_cert.or(file.peer_cert),
            peer_key: self.peer_key.or(file.peer_key),
            peer_ca: self.peer_ca.or(file.peer_ca),
            insecure_peers: self.insecure_peers.or(file.insecure_peers),
            partitions: self.partitions.or(file.partitions),
            listen: self.listen.or(file.listen),
            socket: self.socket.or(file.socket),
            admin_listen: self.admin_listen.or(file.admin_listen),
            allowed_hosts: self.allowed_hosts.or(file.allowed_hosts),
            allowed_origins: self.allowed_origins.or(file.allowed_origins),
            port_file: self.port_file.or(file.port_file),
            max_message_bytes: self.max_message_bytes.or(file.max_message_bytes),
            write_bytes: self.write_bytes.or(file.write_bytes),
            default_deadline_ms: self.default_deadline_ms.or(file.default_deadline_ms),
            tail_rows: self.tail_rows.or(file.tail_rows),
            build_threads: self.build_threads.or(file.build_threads),
            build_share: self.build_share.or(file.build_share),
            search_threads: self.search_threads.or(file.search_threads),
            recall_checks: self.recall_checks.or(file.recall_checks),
            recall_cpu: self.recall_cpu.or(file.recall_cpu),
            memtable_bytes: self.memtable_bytes.or(file.memtable_bytes),
            block_cache_bytes: self.block_cache_bytes.or(file.block_cache_bytes),
            log_records: self.log_records.or(file.log_records),
            log_bytes: self.log_bytes.or(file.log_bytes),
            copy_rate: self.copy_rate.or(file.copy_rate),
            copies_at_once: self.copies_at_once.or(file.copies_at_once),
            checkpoint_seconds: self.checkpoint_seconds.or(file.checkpoint_seconds),
            verify_seconds: self.verify_seconds.or(file.verify_seconds),
            on_minority: self.on_minority.or(file.on_minority),
            drain: self.drain.or(file.drain),
            drain_timeout: self.drain_timeout.or(file.drain_timeout),
            log: self.log.or(file.log),
            log_format: self.log_format.or(file.log_format),
        }
    }

    /// Fills in defaults and checks.
    ///
    /// # Errors
    /// When a value makes no sense.
    pub fn check(self) -> Result<Config, ConfigError> {
        let wrong = |text: &str| Err(ConfigError::Value(text.to_owned()));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (peers, copies) = (PeerConfig::check(&self)?, CopyConfig::check(&self)?);
        match (self.discovery, &peers) {
            (Some(Discovery::None), Some(peers)) if !peers.seeds.is_empty() => {
                return wrong("--discovery none and --seeds contradict each other: leave one out");
            }
            (Some(Discovery::Seeds), None) => return wrong("--discovery seeds needs --seeds"),
            _ => {}
        }
        match (self.bootstrap_expect, &peers) {
            (Some(0), _) => {
                return wrong(
                    "--bootstrap-expect is the number of members that are started, this one included",
                );
            }
            (Some(2..), None) => {
                return wrong(
                    "--bootstrap-expect needs --seeds or --discovery mdns: how else would this member see the others?",
                );
            }
            _ => {}
        }
        let zone = self.zone.unwrap_or_default();
        let host = self.host.unwrap_or_else(host_name);
        if zone.len() > 128 || host.len() > 128 {
            return wrong("--zone and --host are names of at most 128 bytes");
        }
        let weight = self.weight.unwrap_or(1);
        if !(1..=100).contains(&weight) {
            return wrong("--weight is 1 to 100: this member's share beside members of weight 1");
        }
        let dev = self.dev.unwrap_or(false);
        let (data_dir, temporary) = match (self.data_dir, dev) {
            (Some(dir), _) => (dir, None),
            (None, true) => {
                let temporary = TemporaryDir::new()
                    .map_err(|e| ConfigError::Value(format!("no temporary folder could be made: {e}")))?;
                (temporary.0.0.clone(), Some(temporary))
            }
            (None, false) => {
                return wrong(
                    "where is the data to be kept? Pass --data-dir DIR (the first time with --bootstrap, or with \
                     --seeds to join a grid), or --dev to try vecgridd with temporary data",
                );
            }
        };
        let partitions = self.partitions.unwrap_or(crate::types::DEFAULT_PARTITIONS);
        if partitions == 0 || partitions > crate::types::MAX_PARTITIONS {
            return wrong("--partitions is 1 to 1024");
        }
        let grid = self.grid.unwrap_or_else(|| "default".to_owned());
        if grid.is_empty() || grid.len() > 128 {
            return wrong("--grid is a name of 1 to 128 bytes");
        }
        let allowed_hosts = self.allowed_hosts.unwrap_or_default();
        let listen = self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 5700)));
        if !listen.ip().is_loopback() && allowed_hosts.is_empty() {
            return wrong(
                "the local API has no authentication yet, so --listen must be a loopback address; \
                 to open it to others all the same, name the hosts they use with --allowed-hosts",
            );
        }
        let sizes = [
            ("--max-message-bytes", self.max_message_bytes.unwrap_or(64 << 20), 64 << 10),
            ("--write-bytes", self.write_bytes.unwrap_or(128 << 20), 4 << 20),
            ("--memtable-bytes", self.memtable_bytes.unwrap_or(192 << 20), 16 << 20),
            ("--log-records", self.log_records.unwrap_or(1_024), 16),
        ];
        for (flag, value, least) in sizes {
            if value < least {
                return Err(ConfigError::Value(format!("{flag} is at least {least}, not {value}")));
            }
        }
        if sizes[0].1 > MAX_MESSAGE_BYTES {
            return Err(ConfigError::Value(format!(
                "--max-message-bytes is at most {MAX_MESSAGE_BYTES}: members send each other what apps write"
            )));
        }
        let shares = [
            ("--recall-checks", self.recall_checks.unwrap_or(0.01), 1.0),
            ("--recall-cpu", self.recall_cpu.unwrap_or(0.02), 1.0),
            ("--build-share", self.build_share.unwrap_or(0.25), 0.5),
        ];
        for (flag, value, most) in shares {
            if !(0.0..=most).contains(&value) {
                return Err(ConfigError::Value(format!("{flag} is a share, 0 to {most}, not {value}")));
            }
        }
        let [recall_checks, recall_cpu, build_share] = shares.map(|s| s.1);
        let [max_message_bytes, write_bytes, memtable_bytes, log_records] = sizes.map(|s| s.1);
        Ok(Config {
            dev,
            socket: socket(self.socket, &data_dir),
            node_name: self.node_name.unwrap_or_else(host_name),
            bootstrap: self.bootstrap.unwrap_or(false) || dev,
            bootstrap_expect: self.bootstrap_expect,
            peers,
            zone,
            host,
            weight,
            copies,
            partitions,
            grid,
            listen,
            admin_listen: self.admin_listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 5702))),
            allowed_hosts,
            allowed_origins: self.allowed_origins.unwrap_or_default(),
            port_file: self.port_file,
            max_message_bytes,
            default_deadline: Duration::from_millis(self.default_deadline_ms.unwrap_or(10_000).max(1)),
            write_bytes,
            tail_rows: self.tail_rows,
            build_threads: self.build_threads.unwrap_or(cores / 2).max(1),
            build_share,
            search_threads: self.search_threads.unwrap_or(cores).max(1),
            recall_checks,
            recall_cpu,
            memtable_bytes,
            block_cache_bytes: self.block_cache_bytes.unwrap_or(128 << 20),
            log_records,
            log_bytes: self.log_bytes.unwrap_or(256 << 20),
            checkpoint_pause: Some(self.checkpoint_seconds.unwrap_or(30))
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            verify_every: Some(self.verify_seconds.unwrap_or(86_400))
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            on_minority: self.on_minority.unwrap_or_default(),
            drain: self
                .drain
                .unwrap_or(false)
                .then(|| Duration::from_secs(self.drain_timeout.unwrap_or(600))),
            temporary,
            data_dir,
        })
    }
}

/// The socket the user named, or the usual one where its folder can be written, or one beside the
/// data.
fn socket(named: Option<PathBuf>, data_dir: &Path) -> Option<PathBuf> {
    match named {
        Some(none) if none.as_os_str() == "none" => None,
        Some(path) => Some(path),
        None => {
            let usual = Path::new("/run/vecgridd");
            let probe = usual.join(format!(".probe-{}", std::process::id()));
            let writable = std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).is_ok();
            Some(if writable { usual } else { data_dir }.join("vecgridd.sock"))
        }
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "member".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "grid = 'file'\npartitions = 8\n").unwrap();
        let options = Options { config: Some(path), grid: Some("flag".into()), ..Options::default() };
        let merged = options.with_file().unwrap();
        assert_eq!((merged.grid.as_deref(), merged.partitions), (Some("flag"), Some(8)));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "gird = 'x'\n").unwrap();
        assert!(Options { config: Some(path), ..Options::default() }.with_file().is_err());
    }

    #[test]
    fn data_needs_a_place_and_the_door_stays_local() {
        assert!(Options::default().check().is_err());
        let open = Options {
            data_dir: Some("/tmp/x".into()),
            listen: Some(SocketAddr::from(([0, 0, 0, 0], 1))),
            ..Options::default()
        };
        assert!(open.clone().check().is_err());
        assert!(Options { allowed_hosts: Some(vec!["*".into()]), ..open }.check().is_ok());
    }
}
