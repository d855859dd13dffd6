//! A cluster: the nodes, which of them serves which slot, and the way to the one to ask.
//!
//! Each node has connections of its own, made when there is something to ask it. Nothing runs by itself: who finds a
//! node gone, or is sent on by it, looks at the cluster anew, one look at a time, and all who wait share its outcome. A node
//! that does not answer has half an operation's time, so that there is time left to ask who has taken its place.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool_redis::redis::{Cmd, Pipeline, Value, aio::PubSub, cmd};
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    client::{Host, SetupError},
    connections::{Connections, PACE},
    reply::{self, Failure, Remedy},
    request::{Read, Request},
    slots::{Redirect, SLOTS, Shard, slot},
    source::{Endpoint, Source},
};
use crate::store::StoreError;

/// All nodes that were heard of.
pub(super) struct Cluster {
    seeds: Vec<Arc<Node>>,
    template: Endpoint,
    wanted: usize,
    deadline: Duration,
    state: Mutex<State>,
    /// Whoever holds it looks at the cluster anew.
    looking: tokio::sync::Mutex<()>,
    /// Which node is asked first about the others: the one that knew last time.
    first: AtomicUsize,
    generation: Arc<AtomicU64>,
}

/// One of them.
pub(super) struct Node {
    host: Host,
    connections: Connections,
}

#[derive(Default)]
struct State {
    nodes: HashMap<Host, Arc<Node>>,
    /// The node of each slot; empty until somebody has looked.
    slots: Vec<Option<Arc<Node>>>,
    looks: u64,
    outcome: Option<Failure>,
    looked: Option<Instant>,
}

/// What a pipeline has for one node: commands, with their places.
type Part<'a> = Vec<(usize, &'a Cmd)>;

/// Whom to ask, and whether a redirection says so for this question only.
type Way = (Arc<Node>, bool);

/// What becomes of a step whose keys are apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Apart {
    /// It waits until they are together again.
    Wait,
    /// Its caller has another way.
    Say,
}

impl Cluster {
    /// A cluster of which these nodes are known. Asks nobody yet.
    pub(super) fn new(seeds: Vec<(Host, Endpoint)>, wanted: usize, deadline: Duration) -> Result<Self, SetupError> {
        let template = seeds.first().map(|(_, endpoint)| endpoint.clone()).ok_or(SetupError::NoServers)?;
        let generation = Arc::<AtomicU64>::default();
        let node = |(host, endpoint)| Node::new(host, endpoint, wanted, &generation);
        let seeds = seeds.into_iter().map(node).collect::<Result<_, _>>()?;
        Ok(Self {
            seeds,
            template,
            wanted,
            deadline,
            state: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            first: AtomicUsize::new(0),
            generation,
        })
    }

    /// Asks whoever serves the key, and follows where it is sent; a pipeline goes to as many nodes as its keys need.
    pub(super) async fn ask<T>(&self, request: Request<'_>, read: Read<T>) -> Result<T, StoreError> {
        match request {
            Request::Pipeline(pipeline) => read(Value::Array(self.ask_all(pipeline).await?)),
            _ => self.ask_one(request, read, Apart::Wait).await.map_err(|failure| failure.error),
        }
    }

    /// The same for a step on several keys; nothing if they are apart.
    pub(super) async fn ask_together<T>(&self, request: Request<'_>, read: Read<T>) -> Result<Option<T>, StoreError> {
        match self.ask_one(request, read, Apart::Say).await {
            Ok(answer) => Ok(Some(answer)),
            Err(Failure { remedy: Remedy::Apart, .. }) => Ok(None),
            Err(failure) => Err(failure.error),
        }
    }

    /// Asks one node, whatever it serves.
    pub(super) async fn ask_node<T>(&self, node: &Node, request: Request<'_>, read: Read<T>) -> Result<T, StoreError> {
        match self.attempt(node, false, request, read).await {
            Ok(answer) => Ok(answer),
            Err(failure) => {
                // It may serve nothing by now.
                let _ = self.look(Some(node)).await;
                Err(failure.error)
            }
        }
    }

    /// A line to any node, for what all of them announce.
    pub(super) async fn pubsub(&self) -> Result<PubSub, Failure> {
        let mut why = gone();
        for node in self.candidates(None) {
            match timeout(self.share(), node.connections.source().pubsub()).await {
                Ok(Ok(line)) => return Ok(line),
                Ok(Err(failure)) => why = failure,
                Err(_) => why = gone(),
            }
            self.first.fetch_add(1, Ordering::Relaxed);
        }
        Err(why)
    }

    pub(super) async fn leave_if_out_of_step(&self) {
        let nodes: Vec<_> = self.state().nodes.values().cloned().collect();
        for node in nodes {
            node.connections.leave_if_out_of_step().await;
        }
    }

    /// Counts the times a connection was made anew, or a slot was found with another node.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// One request, or many.
impl Cluster {
    async fn ask_one<T>(&self, request: Request<'_>, read: Read<T>, apart: Apart) -> Result<T, Failure> {
        let slot = slot(request.key());
        let (mut looked, mut redirects) = (false, 0);
        let mut way = self.way(slot).await?;
        loop {
            let (node, asking) = &way;
            let failure = match self.attempt(node, *asking, request, read).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            way = match failure.remedy {
                Remedy::Elsewhere(redirect) if redirects < MOST_REDIRECTS => {
                    redirects += 1;
                    self.follow(node, slot, *redirect).await?
                }
                Remedy::Apart if apart == Apart::Say => return Err(failure),
                Remedy::Wait | Remedy::Apart => {
                    redirects = 0;
                    sleep(PACE).await;
                    self.way(slot).await?
                }
                Remedy::Reconnect | Remedy::ReconnectUnlessNew | Remedy::LookAnew if !looked => {
                    looked = true;
                    // Who cannot be told otherwise asks the same node again: it may be back.
                    let _ = self.look(Some(node)).await;
                    self.way(slot).await?
                }
                _ => return Err(failure),
            };
        }
    }

    /// Asks each node what it serves, all at once; what a node does not answer is asked alone, and so follows where it is sent.
    async fn ask_all(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let mut parts: Vec<(Arc<Node>, Part<'_>)> = Vec::new();
        for (place, command) in pipeline.cmd_iter().enumerate() {
            let way = self.way(slot(Request::Command(command).key())).await;
            let (node, _) = way.map_err(|failure| failure.error)?;
            match parts.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &node)) {
                Some((_, part)) => part.push((place, command)),
                None => parts.push((node, vec![(place, command)])),
            }
        }
        let answers = parts.iter().map(|(node, part)| self.ask_part(node, part));
        let mut answers = try_join_all(answers).await?.concat();
        answers.sort_unstable_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    async fn ask_part(&self, node: &Arc<Node>, part: &Part<'_>) -> Result<Vec<(usize, Value)>, StoreError> {
        let mut together = Pipeline::with_capacity(part.len());
        together.ignore_errors();
        for (_, command) in part {
            together.add_command((*command).clone());
        }
        let said = self.attempt(node, false, Request::Pipeline(&together), reply::list).await.unwrap_or_default();
        let mut said = said.into_iter();
        let mut answers = Vec::with_capacity(part.len());
        for (place, command) in part {
            let answer = match said.next() {
                Some(answer) if !matches!(answer, Value::ServerError(_)) => answer,
                _ => {
                    let alone = self.ask_one(Request::Command(command), Ok, Apart::Wait).await;
                    alone.map_err(|failure| failure.error)?
                }
            };
            answers.push((*place, answer));
        }
        Ok(answers)
    }

    async fn attempt<T>(&self, node: &Node, asking: bool, request: Request<'_>, read: Read<T>) -> Result<T, Failure> {
        let newest = node.connections.newest();
        let answered = async {
            if asking {
                return node.connections.attempt_asking(request, read).await;
            }
            node.connections.attempt(request, read).await
        };
        if let Ok(outcome) = timeout(self.deadline / 2, answered).await {
            return outcome;
        }
        node.connections.forget(newest);
        Err(gone())
    }
}

/// The way to a node.
impl Cluster {
    /// Whom to ask about a slot.
    async fn way(&self, slot: u16) -> Result<Way, Failure> {
        if let Some(node) = self.state().node(slot) {
            return Ok((node, false));
        }
        self.look(None).await?;
        let node = self.state().node(slot);
        node.map(|node| (node, false)).ok_or_else(|| final_failure("nobody serves that slot"))
    }

    /// The node that another one named. Who has a slot for good is remembered; the rest of the map is looked at soon.
    async fn follow(&self, from: &Node, slot: u16, redirect: Redirect) -> Result<Way, Failure> {
        let Redirect { mut host, asking } = redirect;
        if host.name.is_empty() {
            host.name.clone_from(&from.host.name);
        }
        let node = self.node(&host)?;
        if asking {
            return Ok((node, true));
        }
        if !self.has_just_looked() {
            let _ = self.look(None).await;
        }
        if let Some(served) = self.state().slots.get_mut(usize::from(slot)) {
            let before = served.replace(Arc::clone(&node));
            if before.is_some_and(|before| !Arc::ptr_eq(&before, &node)) {
                self.generation.fetch_add(1, Ordering::AcqRel);
            }
        }
        Ok((node, false))
    }

    /// Asks the nodes in turn who serves what; `but` is asked last, if at all. Those who come while somebody does wait for the
    /// outcome, which is theirs too.
    async fn look(&self, but: Option<&Node>) -> Result<(), Failure> {
        let seen = self.state().looks;
        let _turn = self.looking.lock().await;
        let (looks, outcome, looked) = {
            let state = self.state();
            (state.looks, state.outcome.clone(), state.looked)
        };
        if looks != seen {
            return outcome.map_or(Ok(()), Err);
        }
        if let Some(looked) = looked {
            sleep_until(looked + PACE).await;
        }
        let found = self.ask_around(but).await;
        let mut state = self.state();
        state.looks += 1;
        state.looked = Some(Instant::now());
        state.outcome = found.as_ref().err().cloned();
        drop(state);
        self.adopt(&found?)
    }

    async fn ask_around(&self, but: Option<&Node>) -> Result<Vec<Shard>, Failure> {
        let mut why = gone();
        let mut best: Vec<Shard> = Vec::new();
        for node in self.candidates(but) {
            match timeout(self.share(), node.shards()).await {
                Ok(Ok(shards)) if covered(&shards) >= usize::from(SLOTS) => return Ok(shards),
                // A node that has left the cluster knows of nobody.
                Ok(Ok(shards)) if covered(&shards) > covered(&best) => best = shards,
                Ok(Ok(_)) => {}
                Ok(Err(failure)) => why = failure,
                Err(_) => why = gone(),
            }
            self.first.fetch_add(1, Ordering::Relaxed);
        }
        if best.is_empty() { Err(why) } else { Ok(best) }
    }

    /// All nodes that can be asked, the one that knew last time first.
    fn candidates(&self, but: Option<&Node>) -> Vec<Arc<Node>> {
        let state = self.state();
        let mut all: Vec<_> = state.nodes.values().chain(&self.seeds).cloned().collect();
        drop(state);
        all.sort_by(|one, other| one.host.cmp(&other.host));
        all.dedup_by(|one, other| one.host == other.host);
        if let Some(first) = self.first.load(Ordering::Relaxed).checked_rem(all.len()) {
            all.rotate_left(first);
        }
        all.sort_by_key(|node| but.is_some_and(|but| but.host == node.host));
        all
    }

    /// Goes by what a node has said.
    fn adopt(&self, shards: &[Shard]) -> Result<(), Failure> {
        let mut slots = vec![None; usize::from(SLOTS)];
        let mut nodes = HashMap::new();
        for shard in shards {
            for host in shard.replicas.iter().chain([&shard.primary]) {
                nodes.insert(host.clone(), self.node(host)?);
            }
            let range = usize::from(shard.first)..=usize::from(shard.last);
            if let Some(served) = slots.get_mut(range) {
                served.fill(nodes.get(&shard.primary).cloned());
            }
        }
        let mut state = self.state();
        if !state.slots.is_empty()
            && state.slots.iter().zip(&slots).any(|(before, now)| !same(before.as_ref(), now.as_ref()))
        {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        state.slots = slots;
        state.nodes = nodes;
        Ok(())
    }

    /// The node at that address; a new one, with no connection yet, if nobody has named it before.
    fn node(&self, host: &Host) -> Result<Arc<Node>, Failure> {
        let mut state = self.state();
        let known = state.nodes.get(host).or_else(|| self.seeds.iter().find(|seed| seed.host == *host));
        if let Some(node) = known {
            return Ok(Arc::clone(node));
        }
        let refused = |error: SetupError| final_failure(&error.to_string());
        let endpoint = self.template.at(host).map_err(refused)?;
        let node = Node::new(host.clone(), endpoint, self.wanted, &self.generation).map_err(refused)?;
        state.nodes.insert(host.clone(), Arc::clone(&node));
        Ok(node)
    }

    /// Every node that serves slots, with the first of these keys that it has.
    pub(super) async fn primaries_with(
        &self,
        keys: impl Iterator<Item = String>,
    ) -> Result<Vec<(Arc<Node>, Option<String>)>, StoreError> {
        if self.state().slots.is_empty() {
            self.look(None).await.map_err(|failure| failure.error)?;
        }
        let state = self.state();
        let mut primaries: Vec<_> = state.slots.iter().flatten().map(|node| (Arc::clone(node), None)).collect();
        primaries.sort_by(|(one, _), (other, _)| one.host.cmp(&other.host));
        primaries.dedup_by(|(one, _), (other, _)| one.host == other.host);
        for key in keys {
            let owner = state.node(slot(key.as_bytes()));
            let place =
                primaries.iter_mut().find(|(node, _)| owner.as_ref().is_some_and(|owner| owner.host == node.host));
            if let Some((_, first)) = place {
                first.get_or_insert(key);
            }
        }
        Ok(primaries)
    }

    fn has_just_looked(&self) -> bool {
        self.state().looked.is_some_and(|looked| looked.elapsed() < REST)
    }

    /// How long one of several nodes is waited for.
    fn share(&self) -> Duration {
        self.deadline / SHARES
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many slots somebody serves.
fn covered(shards: &[Shard]) -> usize {
    shards.iter().map(|shard| usize::from(shard.last.saturating_sub(shard.first)) + 1).sum()
}

impl State {
    fn node(&self, slot: u16) -> Option<Arc<Node>> {
        self.slots.get(usize::from(slot))?.clone()
    }
}

impl Node {
    fn new(
        host: Host,
        endpoint: Endpoint,
        wanted: usize,
        generation: &Arc<AtomicU64>,
    ) -> Result<Arc<Self>, SetupError> {
        let source = Source::Standalone(Box::new(endpoint));
        let connections = Connections::new(source, wanted, Arc::clone(generation))?;
        Ok(Arc::new(Self { host, connections }))
    }

    pub(super) const fn host(&self) -> &Host {
        &self.host
    }

    async fn shards(&self) -> Result<Vec<Shard>, Failure> {
        let mut question = cmd("CLUSTER");
        question.arg("SLOTS");
        let answer = self.connections.attempt(Request::Command(&question), Ok).await?;
        reply::shards(answer, &self.host).map_err(|error| Failure { error, remedy: Remedy::None })
    }
}

fn same(one: Option<&Arc<Node>>, other: Option<&Arc<Node>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

fn final_failure(why: &str) -> Failure {
    Failure { error: StoreError::Unreachable(why.to_owned()), remedy: Remedy::None }
}

fn gone() -> Failure {
    Failure { error: StoreError::Unreachable("a node does not answer".to_owned()), remedy: Remedy::Reconnect }
}

/// Most redirections that one question follows.
const MOST_REDIRECTS: u32 = 8;

/// Into how many shares an operation's time is cut, where nodes are asked in turn.
const SHARES: u32 = 8;

/// Least time between two looks that redirections cause: each is followed without one.
const REST: Duration = Duration::from_secs(1);
