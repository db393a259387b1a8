//! Peers in processes of their own, asked line by line (`tests/peers/serve.py`).
//!
//! A process is started at the first question to it and lives until the run ends, so that peers
//! and ours can be measured in turn. Answers are recorded; `--save-peers` keeps them, and with
//! `--reuse-peers` a recorded answer stands for the question asked again, and no peer is started.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::sweep::{Contender, Sample};
use crate::{
    bench::peers,
    npy::{self, Matrix},
    truth::Metric,
};

/// All that are known, in the order they are measured.
pub const ALL: [&str; 8] = [
    "hnswlib",
    "faiss_hnsw",
    "faiss_hnsw_sq8",
    "usearch_f32",
    "usearch_bf16",
    "usearch_i8",
    "qdrant_edge_f32",
    "qdrant_edge_int8",
];
/// No question takes longer: the slowest is a build of 115,659 rows, a minute on a good day.
const ANSWER_LIMIT: Duration = Duration::from_secs(900);

/// What all peers are given alike.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How distances are measured.
    pub metric: Metric,
    /// Links per node.
    pub m: u32,
    /// Breadth of the build.
    pub ef_construction: u32,
    /// Threads that build.
    pub build_threads: usize,
    /// Hits per query.
    pub k: usize,
    /// One JSON object per row, for peers that take metadata.
    pub metadata: Option<PathBuf>,
}

/// The peers of one run.
pub struct Peers {
    settings: Settings,
    files: tempfile::TempDir,
    processes: HashMap<String, Process>,
    recorded: BTreeMap<String, Vec<Value>>,
    save: Option<PathBuf>,
    reuse: Option<BTreeMap<String, Vec<Value>>>,
    asked: HashMap<String, usize>,
}

struct Process {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peers {
    /// Peers for these rows. Answers go into the one file after each, and come from the other.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn new(
        base: &Matrix<f32>,
        queries: &Matrix<f32>,
        settings: Settings,
        save: Option<PathBuf>,
        reuse: Option<&Path>,
    ) -> Result<Self> {
        let reuse = match reuse {
            Some(path) => {
                let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
                Some(serde_json::from_str(&text).with_context(|| path.display().to_string())?)
            }
            None => None,
        };
        let files = tempfile::tempdir()?;
        npy::write_f32(&files.path().join("base.npy"), base)?;
        npy::write_f32(&files.path().join("queries.npy"), queries)?;
        let (processes, recorded, asked) = Default::default();
        Ok(Self { settings, files, processes, recorded, save, reuse, asked })
    }

    /// Do answers come from a file?
    pub fn reused(&self) -> bool {
        self.reuse.is_some()
    }

    /// Keeps an answer, so that it is not lost when the run is interrupted.
    fn keep(&mut self, key: String, answer: Value) -> Result<()> {
        self.recorded.entry(key).or_default().push(answer);
        let Some(path) = &self.save else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.recorded)?;
        fs::write(path, text).with_context(|| path.display().to_string())
    }

    /// Asks a peer. Found rows in its answer become what `judge` says of them. `who` is the engine,
    /// and may go on after a `+` to name one more process of that engine.
    ///
    /// # Errors
    /// When it cannot be started, fails, or does not answer in time.
    pub fn ask(
        &mut self,
        who: &str,
        question: &Value,
        judge: &dyn Fn(&[Vec<usize>]) -> Value,
    ) -> Result<Value> {
        let key = format!("{who} {question}");
        if let Some(known) =
            self.reuse.as_ref().and_then(|known| known.get(&key)).filter(|known| !known.is_empty())
        {
            let asked = self.asked.entry(key).or_insert(0);
            let answer = known[*asked % known.len()].clone();
            *asked += 1;
            return Ok(answer);
        }
        ensure!(self.reuse.is_none(), "the file of peers has no answer to {key}");
        self.send(who, question)?;
        let answer = self.receive(who, judge)?;
        self.keep(key, answer.clone())?;
        Ok(answer)
    }

    /// Asks two processes at the same time; their answers.
    ///
    /// # Errors
    /// As [`Peers::ask`].
    pub fn ask_both(&mut self, who: [&str; 2], question: &Value) -> Result<[Value; 2]> {
        let judge = |_: &[Vec<usize>]| Value::Null;
        if self.reuse.is_some() {
            return Ok([self.ask(who[0], question, &judge)?, self.ask(who[1], question, &judge)?]);
        }
        for who in who {
            self.send(who, question)?;
        }
        let mut answers = [Value::Null, Value::Null];
        for (who, place) in who.iter().zip(&mut answers) {
            *place = self.receive(who, &judge)?;
            self.keep(format!("{who} {question}"), place.clone())?;
        }
        Ok(answers)
    }

    fn send(&mut self, who: &str, question: &Value) -> Result<()> {
        if !self.processes.contains_key(who) {
            let process = self.start(who)?;
            self.processes.insert(who.to_owned(), process);
        }
        let process = self.processes.get_mut(who).context("just started")?;
        writeln!(process.input, "{question}").with_context(|| format!("{who} is gone"))
    }

    fn receive(&mut self, who: &str, judge: &dyn Fn(&[Vec<usize>]) -> Value) -> Result<Value> {
        let process = self.processes.get_mut(who).with_context(|| format!("{who} was not asked"))?;
        let line = process.lines.recv_timeout(ANSWER_LIMIT).with_context(|| format!("no answer of {who}"))?;
        let mut answer: Value =
            serde_json::from_str(&line).with_context(|| format!("{who} said {line:?}"))?;
        if let Some(error) = answer["error"].as_str() {
            bail!("{who}: {error}");
        }
        if let Some(rows) = answer.as_object_mut().and_then(|answer| answer.remove("rows")) {
            // Short answers are padded with -1.
            let rows: Vec<Vec<i64>> = serde_json::from_value(rows)?;
            let found = |row: Vec<i64>| row.into_iter().filter_map(|row| usize::try_from(row).ok()).collect();
            let rows: Vec<Vec<usize>> = rows.into_iter().map(found).collect();
            answer["judged"] = judge(&rows);
        }
        Ok(answer)
    }

    fn start(&self, who: &str) -> Result<Process> {
        let folder = peers::folder();
        let engine = who.split('+').next().unwrap_or(who);
        let Settings { metric, m, ef_construction, build_threads, k, metadata } = &self.settings;
        let mut command = Command::new(peers::python(&folder)?);
        command.arg(folder.join("serve.py")).args(["--engine", engine]);
        command.arg("--base").arg(self.files.path().join("base.npy"));
        command.arg("--queries").arg(self.files.path().join("queries.npy"));
        if let Some(metadata) = metadata {
            command.arg("--metadata").arg(metadata);
        }
        for (name, value) in [
            ("--metric", metric.name().to_owned()),
            ("--m", m.to_string()),
            ("--ef-construction", ef_construction.to_string()),
            ("--build-threads", build_threads.to_string()),
            ("--k", k.to_string()),
        ] {
            command.args([name, &value]);
        }
        // A peer that waits must not spin on a core that the next one is measured on.
        command.env("OMP_WAIT_POLICY", "passive");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("no stdin")?;
        let output = BufReader::new(child.stdout.take().context("no stdout")?);
        let (sender, lines) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Process { child, input, lines })
    }
}

/// A built peer with one search thread.
pub struct PeerContender<'a> {
    /// All of them.
    pub peers: &'a std::cell::RefCell<Peers>,
    /// Which one.
    pub engine: String,
    /// Recall of answers.
    pub judge: &'a dyn Fn(&[Vec<usize>]) -> f64,
    /// Recall by breadth, once known.
    pub known: HashMap<usize, f64>,
}

impl Contender for PeerContender<'_> {
    fn name(&self) -> String {
        self.engine.clone()
    }

    fn measure(&mut self, ef: usize) -> Result<Sample> {
        let known = self.known.get(&ef).copied();
        let question = json!({"do": "batch", "ef": ef, "threads": 1, "rows": known.is_none()});
        let judge = |rows: &[Vec<usize>]| json!((self.judge)(rows));
        let answer = self.peers.borrow_mut().ask(&self.engine, &question, &judge)?;
        let qps = answer["qps"].as_f64().context("no qps")?;
        let recall = known.or(answer["judged"].as_f64()).context("no recall")?;
        self.known.insert(ef, recall);
        Ok(Sample { qps, recall })
    }
}
