//! One real daemon in a folder of its own.
//!
//! ```text
//! start ──► port file appears ──► rest() grpc_tcp() grpc_socket()
//!   ▲                                    │
//!   └── restart() ◄── kill9() · sigterm() + wait_exit()
//! ```
//!
//! A member of a grid of several may be ready only when others are: [`Daemon::launch_with`] and
//! [`Daemon::relaunch`] do not wait, [`Daemon::wait_ready`] does. [`crate::cluster`] keeps such grids.
//!
//! The folder outlives the process, so a test can kill the daemon and start it again on the same
//! data. The log is one file over all starts; it is printed when a test fails. Dropping the
//! handle kills the daemon and, with the last handle, removes the folder.

use std::{
    fs::{self, File, OpenOptions},
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::{binaries, disk::Disk, grpc, rest::Rest, wait};

/// A start on this machine takes well under a second; a loaded one gets more.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Lines of log printed when a test fails.
const LOG_TAIL: usize = 150;

/// What differs from the usual daemon of a test.
#[derive(Debug, Clone)]
pub struct Options {
    /// Partitions of a new grid. Few make a start quick.
    pub partitions: u16,
    /// More arguments, as on the command line.
    pub args: Vec<String>,
    /// A grid of its own; without it `args` say how it finds others.
    pub alone: bool,
    /// In which network it runs; `None` = on this machine's loopback.
    pub place: Option<Place>,
    /// Its data is on a disk of its own.
    pub own_disk: bool,
}

/// A network namespace, and the address that it has there.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its name, as `ip netns` knows it.
    pub namespace: String,
    /// Reached from this machine, too.
    pub address: IpAddr,
}

impl Default for Options {
    fn default() -> Self {
        Self { partitions: 8, args: Vec::new(), alone: true, place: None, own_disk: false }
    }
}

/// What the daemon writes into its port file once it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ports {
    /// Host and port of the local API.
    pub api: String,
    /// The Unix socket.
    pub socket: PathBuf,
    /// Host and port of the admin listener.
    pub admin: String,
    /// The process that wrote the file.
    pub pid: u32,
}

/// A running (or killed) daemon and its folder.
#[derive(Debug)]
pub struct Daemon {
    // Goes before the folder that it is mounted in.
    disk: Option<Disk>,
    home: Arc<TempDir>,
    options: Options,
    child: Child,
    ports: Option<Ports>,
    launched: Instant,
    start_time: Duration,
}

impl Daemon {
    /// Starts a daemon on a fresh folder and waits until it is ready.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// As [`Daemon::start`], with other options.
    pub fn start_with(options: Options) -> Self {
        let mut daemon = Self::launch_with(options);
        daemon.wait_ready(START_LIMIT);
        daemon
    }

    /// Starts a daemon on a fresh folder and does not wait.
    pub fn launch_with(options: Options) -> Self {
        let home = tempfile::Builder::new().prefix("vecgrid-test-").tempdir();
        let home = Arc::new(home.unwrap_or_else(|e| panic!("no temporary folder: {e}")));
        let mount = || Disk::mount(&home.path().join("disk"), &data_dir(home.path()));
        let disk = options.own_disk.then(|| mount().unwrap_or_else(|e| panic!("no disk of its own: {e}")));
        let launched = Instant::now();
        let child = spawn(home.path(), &options);
        Self { disk, home, options, child, ports: None, launched, start_time: Duration::ZERO }
    }

    /// Starts again on the same data. The old process must be gone.
    pub fn restart(&mut self) {
        self.relaunch();
        self.wait_ready(START_LIMIT);
    }

    /// As [`Daemon::restart`], and does not wait.
    pub fn relaunch(&mut self) {
        let gone = self.child.try_wait().is_ok_and(|status| status.is_some());
        assert!(gone, "a start before the old process ended");
        self.launched = Instant::now();
        self.child = spawn(self.home.path(), &self.options);
        self.ports = None;
    }

    /// Waits until it says that it is ready.
    pub fn wait_ready(&mut self, limit: Duration) {
        loop {
            if self.try_ports().is_some() {
                return;
            }
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || self.launched.elapsed() > limit {
                let _ = self.child.kill();
                let _ = self.child.wait();
                let how = ended.map_or("is not ready in time".to_owned(), |s| format!("ended with {s}"));
                panic!("the daemon {how}; its log:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Where it listens, if it is ready by now.
    pub fn try_ports(&mut self) -> Option<&Ports> {
        // Also when it is known: a member that gives up a grid of its own for another starts anew in its process.
        let read = fs::read(port_file(self.home.path())).ok();
        let ports = read.and_then(|bytes| serde_json::from_slice::<Ports>(&bytes).ok());
        let ports = ports.filter(|ports| ports.pid == self.child.id());
        if ports.is_some() && ports != self.ports {
            self.ports = ports;
            self.start_time = self.launched.elapsed();
        }
        self.ports.as_ref()
    }

    /// How long the last start took, until ready.
    pub fn start_time(&self) -> Duration {
        self.start_time
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        data_dir(self.home.path())
    }

    /// The disk of its own.
    ///
    /// # Panics
    /// When it has none.
    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().unwrap_or_else(|| panic!("this daemon has no disk of its own"))
    }

    /// A folder for the test's own files; it goes with the daemon's.
    pub fn scratch(&self) -> &Path {
        self.home.path()
    }

    /// Where the daemon listens.
    ///
    /// # Panics
    /// When it has not said so yet.
    pub fn ports(&self) -> &Ports {
        self.ports.as_ref().unwrap_or_else(|| panic!("the daemon is not known to be ready"))
    }

    /// REST over TCP.
    pub fn rest(&self) -> Rest {
        Rest::new(&self.ports().api)
    }

    /// REST on the admin port.
    pub fn admin(&self) -> Rest {
        Rest::new(&self.ports().admin)
    }

    /// A gRPC channel over TCP.
    pub async fn tcp_channel(&self) -> Channel {
        grpc::tcp(&self.ports().api).await
    }

    /// A gRPC channel over the Unix socket.
    pub async fn socket_channel(&self) -> Channel {
        grpc::socket(&self.ports().socket).await
    }

    /// A gRPC client over TCP.
    pub async fn grpc_tcp(&self) -> grpc::Client {
        grpc::client(self.tcp_channel().await)
    }

    /// A gRPC client over the Unix socket.
    pub async fn grpc_socket(&self) -> grpc::Client {
        grpc::client(self.socket_channel().await)
    }

    /// Is the process still there?
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`, and waits for the end.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the daemon to stop.
    pub fn sigterm(&self) {
        self.signal("TERM");
    }

    /// Freezes the process: it keeps its connections and says nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen process go on, as if no time had passed.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id();
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status();
        assert!(status.is_ok_and(|s| s.success()), "cannot send SIG{name} to {pid}");
    }

    /// Waits for the end of the process.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let child = &mut self.child;
        wait::until("the daemon ends", limit, || child.try_wait().ok().flatten())
    }

    /// SIGTERM, and waits for exit code 0.
    pub fn stop(&mut self) {
        self.sigterm();
        let status = self.wait_exit(Duration::from_secs(30));
        assert!(status.success(), "a graceful stop ended with {status}\n{}", self.log_tail());
    }

    /// Everything the daemon wrote so far, over all starts.
    pub fn log(&self) -> String {
        let bytes = fs::read(log_path(self.home.path())).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Bytes of log so far.
    pub fn log_len(&self) -> u64 {
        fs::metadata(log_path(self.home.path())).map_or(0, |m| m.len())
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }

    /// Fails when the daemon has panicked somewhere.
    pub fn assert_no_panic(&self) {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("panicked"));
        assert!(line.is_none(), "the daemon panicked: {}", line.unwrap_or_default());
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0);
        kib * 1024
    }

    /// Tries to start a second daemon on the same data, with its own socket and port file, and
    /// gives its exit status and what it said. It must end by itself.
    pub fn start_rival(&self) -> (ExitStatus, String) {
        let said = self.home.path().join("rival.log");
        let mut command = Command::new(binaries::vecgridd());
        command.arg("--data-dir").arg(self.data_dir());
        command.arg("--socket").arg(self.home.path().join("rival.sock"));
        command.arg("--port-file").arg(self.home.path().join("rival.json"));
        let partitions = self.options.partitions.to_string();
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--bootstrap"]);
        command.args(["--discovery", "none", "--partitions", &partitions]);
        let mut rival = run_with_log(&mut command, &said);
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = rival.try_wait() {
                return (status, fs::read_to_string(&said).unwrap_or_default());
            }
            if start.elapsed() > START_LIMIT {
                let _ = rival.kill();
                let _ = rival.wait();
                panic!("a second daemon on the same data directory keeps running");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- last lines of the daemon's log ----\n{}\n----", self.log_tail());
        }
    }
}

fn data_dir(home: &Path) -> PathBuf {
    home.join("data")
}

fn log_path(home: &Path) -> PathBuf {
    home.join("daemon.log")
}

fn port_file(home: &Path) -> PathBuf {
    data_dir(home).join("ports.json")
}

fn spawn(home: &Path, options: &Options) -> Child {
    let data = data_dir(home);
    fs::create_dir_all(&data).unwrap_or_else(|e| panic!("no data folder: {e}"));
    // The daemon removes an old port file first; without this there is a moment before it does.
    let _ = fs::remove_file(port_file(home));
    let mut command = match &options.place {
        None => Command::new(binaries::vecgridd()),
        Some(place) => {
            let mut command = Command::new("ip");
            // `ip` becomes the daemon, so the process is the one that is killed and paused.
            command.args(["netns", "exec", &place.namespace]).arg(binaries::vecgridd());
            command
        }
    };
    command.arg("--data-dir").arg(&data).arg("--socket").arg(data.join("s.sock"));
    command.arg("--port-file").arg(port_file(home));
    command.args(["--partitions", &options.partitions.to_string()]);
    let listen =
        options.place.as_ref().map_or("127.0.0.1:0".to_owned(), |place| format!("{}:0", place.address));
    command.args(["--listen", &listen, "--admin-listen", &listen]);
    if options.place.is_some() {
        // Not loopback: reached from the test's own network.
        command.args(["--allowed-hosts", "*"]);
    }
    if options.alone {
        command.args(["--bootstrap", "--discovery", "none"]);
    }
    command.args(&options.args);
    run_with_log(&mut command, &log_path(home))
}

fn run_with_log(command: &mut Command, log: &Path) -> Child {
    // The tests say everything on the command line; the caller's settings must not leak in.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VECGRID_") {
            command.env_remove(name);
        }
    }
    let open = || -> std::io::Result<File> { OpenOptions::new().create(true).append(true).open(log) };
    let (out, err) = match (open(), open()) {
        (Ok(out), Ok(err)) => (out, err),
        (Err(e), _) | (_, Err(e)) => panic!("no log file: {e}"),
    };
    command.env("RUST_BACKTRACE", "1").stdin(Stdio::null()).stdout(out).stderr(err);
    command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"))
}
