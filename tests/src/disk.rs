//! A disk of its own for a daemon, whose power can be cut: an image with a file system, mounted over a loop device.
//!
//! ```text
//! mount ──▶ writes, fsyncs ──▶ cut_power ──▶ every later write and fsync fails ──▶ (kill) mount_again
//!                                            what was not synced is gone, as after a power cut
//! ```
//!
//! It can also be made to stand still (`freeze`): writes wait, and nothing fails.
//!
//! It does not imitate a drive that loses what it said it had written. Needs root, `mkfs.ext4`, loop devices and
//! `python3` (for one ioctl); without them a test says why it is left out. Unmounted when the handle is dropped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Sparse: takes what is written.
const BYTES: u64 = 1 << 30;
/// `EXT4_IOC_SHUTDOWN` for each folder, without writing the journal out first.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
disks = [os.open(at, os.O_RDONLY) for at in sys.argv[1:]]
for disk in disks:
    fcntl.ioctl(disk, (2 << 30) | (4 << 16) | (ord('X') << 8) | 125, bytearray(struct.pack('I', 2)))";

/// See the module.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// Makes an image in a folder and mounts it at another.
    ///
    /// # Errors
    /// Why this machine cannot.
    pub fn mount(image: &Path, at: &Path) -> Result<Self, String> {
        let text = |e: std::io::Error| e.to_string();
        fs::create_dir_all(at).map_err(text)?;
        fs::File::create(image).and_then(|file| file.set_len(BYTES)).map_err(text)?;
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image])?;
        let disk = Self { image: image.to_owned(), at: at.to_owned() };
        disk.attach()?;
        Ok(disk)
    }

    /// Tries everything on a small scale; why this machine cannot, if so.
    ///
    /// # Errors
    /// Then.
    pub fn possible() -> Result<(), String> {
        let folder = tempfile::Builder::new().prefix("vecgrid-disk-").tempdir().map_err(|e| e.to_string())?;
        let at = folder.path().join("at");
        let _disk = Self::mount(&folder.path().join("image"), &at)?;
        shut_down(&[at])
    }

    /// From now on every write waits, and none fails, until what this returns is dropped.
    ///
    /// # Panics
    /// When that fails.
    pub fn freeze(&self) -> Frozen {
        run("fsfreeze", &["--freeze".as_ref(), &self.at]).unwrap_or_else(|e| panic!("{e}"));
        Frozen { at: self.at.clone() }
    }

    fn attach(&self) -> Result<(), String> {
        run("mount", &["-o".as_ref(), "loop".as_ref(), &self.image, &self.at])
    }

    /// As after power has come back. No process may have anything open there.
    ///
    /// # Panics
    /// When that fails.
    pub fn mount_again(&self) {
        run("umount", &[&self.at]).and_then(|()| self.attach()).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// A disk that stands still. It outlives no test: what waits for it could not even be killed.
#[derive(Debug)]
pub struct Frozen {
    at: PathBuf,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(why) = run("fsfreeze", &["--unfreeze".as_ref(), &self.at]) {
            crate::report!("the disk at {} stands still for ever: {why}", self.at.display());
        }
    }
}

/// From now on nothing reaches the disks that are mounted at these folders: all lose power at once.
///
/// # Panics
/// When that fails.
pub fn cut_power(disks: &[PathBuf]) {
    shut_down(disks).unwrap_or_else(|e| panic!("{e}"));
}

fn shut_down(disks: &[PathBuf]) -> Result<(), String> {
    let mut args: Vec<&Path> = vec!["-c".as_ref(), SHUTDOWN.as_ref()];
    args.extend(disks.iter().map(PathBuf::as_path));
    run("python3", &args)
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may have something open.
        let _ = run("umount", &["-l".as_ref(), &self.at]);
    }
}

fn run(program: &str, args: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|e| format!("`{program}`: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`{program}`: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
