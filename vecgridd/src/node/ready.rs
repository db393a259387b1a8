//! Telling the world that the daemon is ready: port file, systemd, and a hint for `--dev`.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use sd_notify::NotifyState;

use crate::{api::Bound, config::Config};

/// Where the doors are.
pub struct Addresses {
    api: SocketAddr,
    socket: Option<PathBuf>,
    admin: Option<SocketAddr>,
}

impl Addresses {
    pub fn of(bound: &Bound) -> Self {
        Self {
            api: bound.api_addr(),
            socket: bound.socket_path().map(ToOwned::to_owned),
            admin: bound.admin_addr(),
        }
    }
}

/// A port file of an earlier run must not be taken for ours.
pub fn forget_port_file(config: &Config) {
    if let Some(path) = &config.port_file {
        let _ = std::fs::remove_file(path);
    }
}

/// Requests are taken from now on.
pub fn tell(config: &Config, addresses: &Addresses) -> anyhow::Result<()> {
    let Addresses { api, socket, admin } = addresses;
    let shown = |address: Option<String>| address.unwrap_or_else(|| "none".to_owned());
    tracing::info!(
        %api,
        socket = shown(socket.as_ref().map(|path| path.display().to_string())),
        admin = shown(admin.map(|address| address.to_string())),
        "ready"
    );
    if let Some(path) = &config.port_file {
        let ports = serde_json::json!({
            "api": api.to_string(),
            "socket": socket,
            "admin": admin.map(|a| a.to_string()),
            "pid": std::process::id(),
        });
        let draft = path.with_extension("tmp");
        std::fs::write(&draft, ports.to_string())
            .and_then(|()| std::fs::rename(&draft, path))
            .with_context(|| format!("cannot write the port file {}", path.display()))?;
    }
    // Not under systemd: nothing to tell.
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    if config.dev {
        hint(addresses);
    }
    Ok(())
}

/// systemd may show that we are on the way out.
pub fn tell_stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}

fn hint(addresses: &Addresses) {
    let api = addresses.api;
    eprintln!(
        "
vecgridd is ready, with temporary data that is removed at exit. Try:

  curl -X PUT  http://{api}/v1/collections/demo -H 'content-type: application/json' -d '{{\"dimension\":3}}'
  curl -X PUT  http://{api}/v1/collections/demo/entries/a -H 'content-type: application/json' \\
       -d '{{\"vector\":[1,0,0],\"metadata\":{{\"colour\":\"red\"}}}}'
  curl -X POST http://{api}/v1/collections/demo/search -H 'content-type: application/json' \\
       -d '{{\"vector\":[0.9,0.1,0],\"k\":3}}'
  vecgrid --endpoint http://{api} status

The whole API: http://{api}/openapi.json"
    );
    if let Some(socket) = &addresses.socket {
        eprintln!("The same over the Unix socket: {}", socket.display());
    }
}
