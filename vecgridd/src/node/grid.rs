//! Coming into the grid: the control plane and its threads, the members' door, and how a data directory gets there.
//!
//! | the data directory | |
//! |---|---|
//! | is in a grid | goes back to it; without its control store it does not start |
//! | has the state of a daemon before there were several members | founds the grid that it was, with everything in it |
//! | was made a grid of its own by force | founds that grid, with what was left, and says so |
//! | is empty | joins the grid it finds, or founds one by the rules of `cluster/birth.rs` |

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{runtime::Handle, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, interceptor::InterceptedService};
use vecgrid_proto::peer::{copies_server::CopiesServer, data_server::DataServer};

use super::data_dir::DataDir;
use crate::{
    cluster::{
        Arrival, ArriveError, Arrived, Door, Lookout, arrive,
        birth::Rules,
        discovery::{self, Announcement, DiscoveryOptions, Peers, Reach, Seed, SystemResolver},
        lookout,
    },
    config::{Config, PeerConfig, Trust},
    control::{Control, ControlParts, ControlStore, ControlTiming, Entry, Rescued, StartError, carried_over},
    index::Registry,
    partition::{Hosts, Verifier, begin_empty},
    peer::{
        DataServices, Guard, MAX_COPY_MESSAGE, MAX_DATA_MESSAGE, Me, PeerLimits, PeerListener, Pool,
        Security, SecurityError, Serving,
    },
    replication::CopiesService,
    service::Answers,
    storage::{
        Batch, Engine, Family, RocksEngine, RocksOptions,
        keys::member::{Identity, Membership, membership_key, old_control_key},
    },
    task::{OwnRuntime, Tasks},
    telemetry::Metrics,
    types::{ClusterView, Member, MemberDetails, MemberId},
};

/// Threads of the control plane: one may be busy with JSON while the other beats.
const THREADS: usize = 2;
/// The control database is small.
const BUDGETS: RocksOptions = RocksOptions { memtable_bytes: 8 << 20, block_cache_bytes: 1 << 20 };
/// How long to look around by multicast before a grid is founded. Answers come within a second; this leaves room
/// for daemons that start a moment later.
const WAITING: Duration = Duration::from_secs(3);
/// How long seeds may take to be looked up before a fresh member goes on without them.
const FIRST_LOOKUP: Duration = Duration::from_secs(6);

/// This member's part in the grid.
pub struct GridPart {
    /// What the grid agreed on.
    pub control: Control,
    /// The other members.
    pub pool: Pool,
    tasks: Tasks,
    runtime: OwnRuntime,
}

impl GridPart {
    /// Ends it, last of all: until then the other members hear this one.
    pub async fn stop(self) {
        let Self { control, pool: _, tasks, runtime } = self;
        control.stop().await;
        drop(control);
        if !tasks.stop(PeerLimits::default().grace * 4).await {
            tracing::warn!("some work of the control plane did not end in time");
        }
        // The database is closed when this returns.
        runtime.end(PeerLimits::default().grace * 4).await;
    }
}

/// The row store, whose member family says who we are and whether we are in a grid.
pub struct Home<'a> {
    pub engine: &'a dyn Engine,
    pub identity: &'a Identity,
}

/// What other members reach here besides the control plane.
pub struct Doors {
    /// Answers about rows.
    pub answers: Answers,
    /// The copies that are here.
    pub hosts: Hosts,
    /// Compares them, when the rows are there.
    pub verifier: Arc<OnceLock<Verifier>>,
    /// The same of indexes.
    pub indexes: Arc<OnceLock<Arc<Registry>>>,
    /// A grid may also be there, besides the places that were configured.
    pub other: Option<SocketAddr>,
}

/// Brings this member into its grid; returns when it knows the grid's state.
pub async fn enter(
    config: &Config,
    data_dir: &DataDir,
    home: Home<'_>,
    metrics: &Arc<Metrics>,
    doors: Doors,
    shutdown: &CancellationToken,
) -> anyhow::Result<GridPart> {
    let folder = data_dir.control();
    let open = move || RocksEngine::open(&folder, BUDGETS);
    let opened = tokio::task::spawn_blocking(open).await?;
    let store = ControlStore::new(Arc::new(opened.map_err(StartError::of_open)?));
    let runtime = OwnRuntime::start("control", THREADS).context("no threads for the control plane")?;
    let (tasks, me) = (Tasks::default(), Arc::new(Me::new(home.identity.clone())));
    let security = security(config)?;
    let apps = Handle::current();
    let pool =
        Pool::new(Arc::clone(&me), security.clone(), runtime.handle()?).with_data_on(apps.clone(), &tasks);
    let mut details = MemberDetails {
        name: config.node_name.clone(),
        zone: config.zone.clone(),
        host: config.host.clone(),
        weight: config.weight,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..MemberDetails::default()
    };
    let door = match &config.peers {
        Some(peers) => {
            let listener = PeerListener::bind(peers.listen)
                .with_context(|| format!("cannot listen to members on {}", peers.listen))?;
            details.address = peers.advertised(listener.address());
            tracing::info!(listen = %listener.address(), advertised = details.address, "other members may connect");
            let door = Arc::new(Door::new(&config.grid, me.member(), &details.address));
            let guard = Guard::new(Arc::clone(&door), Arc::clone(&me), Arc::clone(metrics));
            let answers = doors.answers.until(tasks.token());
            let data = DataServer::new(answers).max_decoding_message_size(MAX_DATA_MESSAGE);
            let data =
                InterceptedService::new(data.max_encoding_message_size(MAX_DATA_MESSAGE), guard.clone());
            let copies = CopiesService::new(doors.hosts, doors.verifier, doors.indexes);
            let copies = CopiesServer::new(copies);
            let copies = copies.max_decoding_message_size(MAX_COPY_MESSAGE);
            let routes = Routes::new(data).add_service(InterceptedService::new(copies, guard));
            let serving = Serving {
                data: Some(DataServices { routes, runtime: apps }),
                host: Arc::clone(&door),
                me: Arc::clone(&me),
                security,
                metrics: Arc::clone(metrics),
                limits: PeerLimits::default(),
            };
            let tasks = tasks.clone();
            let serve = async move { listener.serve(serving, &tasks) };
            runtime.run(serve).await.context("the members' door failed")??;
            Some(door)
        }
        None => None,
    };

    // Also of a member that has its grid: others find it by this.
    let addresses = match &config.peers {
        Some(peers) => look_for_members(config, (peers, doors.other), me.member(), &details, &tasks)?,
        None => watch::channel(Peers::new()).1,
    };
    let old_state = home.engine.get(Family::Member, &old_control_key())?;
    let in_grid = home.engine.get(Family::Member, &membership_key())?.is_some();
    match store.owner()? {
        Some(_) => {}
        None if in_grid => bail!(StartError::Damaged("it is empty".to_owned())),
        None if old_state.is_some() => store.take(home.identity, &new_grid_id(), true)?,
        None => {
            let arrival = Arrival {
                member: home.identity.member.clone(),
                grid_name: config.grid.clone(),
                details: MemberDetails { incarnation: 1, ..details.clone() },
                rules: rules(config),
                waiting: if config.is_multicast() { WAITING } else { Duration::ZERO },
                addresses: addresses.clone(),
                sees: door.as_ref().map_or_else(watch::Sender::default, |door| door.sees()),
            };
            let look_up = config.has_seeds() || doors.other.is_some();
            match look_for_grid(arrival, look_up, &runtime, &pool, shutdown).await? {
                Arrived::Found => store.take(home.identity, &new_grid_id(), true)?,
                Arrived::Joined(grid) => store.take(home.identity, &grid, false)?,
            }
        }
    }
    let owner = store.start(home.identity)?;
    me.belongs_to(&owner.grid);
    details.incarnation = owner.incarnation;
    let rescued = store.rescued()?;
    if let Some(rescued) = &rescued {
        tell_of_loss(rescued);
    }
    let entry = if owner.founder {
        let mut founder = Member::new(home.identity.member.clone(), &home.identity.store, "");
        founder.details = details.clone();
        Entry::Found(Box::new(match (&rescued, &old_state) {
            (Some(rescued), _) => rescued.begins_with(&home.identity.member, &details),
            (None, Some(bytes)) => carried_over(bytes, &owner.grid, founder)?,
            (None, None) => ClusterView::found_with(
                &owner.grid,
                &config.grid,
                config.partitions,
                config.copies.settings,
                founder,
            ),
        }))
    } else {
        Entry::Member
    };

    let parts = ControlParts {
        tasks: tasks.clone(),
        store: store.clone(),
        pool: pool.clone(),
        details,
        metrics: Arc::clone(metrics),
        timing: ControlTiming { return_lease: config.copies.return_lease, ..ControlTiming::default() },
    };
    let control = Control::start(&runtime, parts).await?;
    if let Some(door) = door {
        let others = door.others();
        door.open(control.clone());
        let (control, pool, metrics) = (control.clone(), pool.clone(), Arc::clone(metrics));
        let looking = lookout(Lookout { control, pool, metrics, addresses, others }, tasks.token());
        tasks.spawn_on(&runtime.handle()?, "lookout", looking);
    }
    let part = GridPart { control, pool, tasks, runtime };
    let entered = tokio::select! {
        entered = part.control.enter(entry) => entered,
        () = shutdown.cancelled() => Err(StartError::Stopped),
    };
    if let Err(error) = entered {
        part.stop().await;
        return Err(error.into());
    }
    if let Some(rescued) = rescued {
        // Before anything is written to them in this grid.
        begin_empty(home.engine, &rescued.empty)?;
        store.has_begun()?;
    }
    if !in_grid {
        // From now on only the control store knows, and a start without it is refused.
        let mut batch = Batch::default();
        let membership = Membership { grid: part.control.view().id().to_owned() };
        batch.put(Family::Member, membership_key(), serde_json::to_vec(&membership)?);
        batch.delete(Family::Member, old_control_key());
        home.engine.commit(&batch, true)?;
    }
    Ok(part)
}

/// An operator made this grid by force: it is said once more where it is kept.
fn tell_of_loss(rescued: &Rescued) {
    tracing::error!(
        from = rescued.from,
        grid = rescued.first.id(),
        behind = ?rescued.behind,
        empty = ?rescued.empty,
        "possible data loss: this grid was made by force (vecgridd recover) out of this member alone. Writes that it \
         had not heard of are lost; so are later writes to the partitions in `behind`, and all rows of those in `empty`"
    );
}

fn security(config: &Config) -> Result<Security, SecurityError> {
    match config.peers.as_ref().map(|peers| &peers.trust) {
        None | Some(Trust::Anyone) => Ok(Security::Open),
        Some(Trust::Secret(file)) => Security::of_secret(file),
        Some(Trust::Certificates { cert, key, ca }) => Security::of_files(cert, key, ca),
    }
}

fn new_grid_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn rules(config: &Config) -> Rules {
    Rules {
        bootstrap: config.bootstrap,
        expect: config.bootstrap_expect,
        after_waiting: config.is_multicast() && !config.has_seeds() && config.bootstrap_expect.is_none(),
    }
}

/// Starts to look where members may be, and by multicast to say where this one is.
fn look_for_members(
    config: &Config,
    (peers, other): (&PeerConfig, Option<SocketAddr>),
    member: &MemberId,
    details: &MemberDetails,
    tasks: &Tasks,
) -> anyhow::Result<watch::Receiver<Peers>> {
    let named = peers.seeds.iter().cloned().chain(other.map(|other| other.to_string()));
    let seeds = named.map(|seed| seed.parse()).collect::<Result<Vec<Seed>, _>>()?;
    let own: Peers = details.address.parse().into_iter().collect();
    let address = own.first().copied();
    let reach = if peers.listen.ip().is_loopback() { Reach::Loopback } else { Reach::Networks };
    let announcement = peers.multicast.then(|| Announcement {
        grid: config.grid.clone(),
        member: member.clone(),
        // A host name is for those that were given it; by multicast we say the addresses that we have.
        address: address.unwrap_or(peers.listen),
        reach,
    });
    let options = DiscoveryOptions { seeds, mdns: announcement, own };
    Ok(discovery::start(tasks, options, SystemResolver))
}

async fn look_for_grid(
    mut arrival: Arrival,
    look_up: bool,
    runtime: &OwnRuntime,
    pool: &Pool,
    shutdown: &CancellationToken,
) -> anyhow::Result<Arrived> {
    // Before seeds were looked up for the first time, nobody can be asked whether there is a grid.
    if look_up {
        tokio::select! {
            _ = tokio::time::timeout(FIRST_LOOKUP, arrival.addresses.changed()) => {}
            () = shutdown.cancelled() => {}
        }
    }
    let (pool, stop) = (pool.clone(), shutdown.clone());
    let arrived = runtime.run(async move { arrive(&pool, arrival, &stop).await }).await;
    arrived.unwrap_or(Err(ArriveError::Stopped)).map_err(Into::into)
}
