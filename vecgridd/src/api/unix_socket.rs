//! The Unix socket: taken over from a dead daemon, never from a living one; gone when we are.

use std::{
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

use super::bind::BindError;

/// `sun_path` has 108 bytes, one of them for the end.
const MAX_PATH: usize = 107;
/// Owner and group.
const MODE: u32 = 0o660;

/// A bound socket. Its file is removed on drop, if it is still ours.
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file we made.
    file: (u64, u64),
}

impl UnixSocket {
    pub(super) async fn bind(path: &Path) -> Result<Self, BindError> {
        Self::try_bind(path).await.map_err(|reason| BindError::Socket { path: path.to_owned(), reason })
    }

    async fn try_bind(path: &Path) -> Result<Self, String> {
        let length = path.as_os_str().len();
        if length > MAX_PATH {
            return Err(format!("its path has {length} bytes, the system allows {MAX_PATH}"));
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
        }
        remove_stale(path).await?;
        let listener = UnixListener::bind(path).map_err(|e| e.to_string())?;
        // Until here the umask ruled, which lets nobody else write, and to connect is to write.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).map_err(|e| e.to_string())?;
        let file = identity(path).map_err(|e| e.to_string())?;
        Ok(Self { listener, path: path.to_owned(), file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // A successor may have bound the path by now.
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = std::fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

async fn remove_stale(path: &Path) -> Result<(), String> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e.to_string()),
    };
    if !meta.file_type().is_socket() {
        return Err("something else than a socket is there: remove it or choose another path".to_owned());
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err("another daemon listens there: stop it or choose another path".to_owned()),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "removing the socket of a daemon that is gone");
            std::fs::remove_file(path).map_err(|e| e.to_string())
        }
        Err(e) => Err(format!("a socket is there and cannot be asked who it belongs to: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_taken_over_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/vecgridd.sock");
        let first = UnixSocket::bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let second = UnixSocket::bind(&path).await.map(|_| ()).unwrap_err().to_string();
        assert!(second.contains("another daemon"), "{second}");
        drop(first);
        assert!(!path.exists());
        // As a killed daemon leaves it.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let third = UnixSocket::bind(&path).await.unwrap();
        // A successor took the path: it is not ours to remove.
        std::fs::remove_file(&path).unwrap();
        let _successor = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(third);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_file_in_the_way_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        std::fs::write(&path, "precious").unwrap();
        assert!(UnixSocket::bind(&path).await.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        let long = dir.path().join("x".repeat(120));
        assert!(UnixSocket::bind(&long).await.map(|_| ()).unwrap_err().to_string().contains("107"));
    }
}
