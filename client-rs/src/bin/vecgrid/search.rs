//! `vecgrid search`

use std::time::Duration;

use clap::{ArgGroup, Args};
use serde::Serialize;
use serde_json::{Value, json};
use vecgrid_client::{Client, Coverage, Explain, Hit, SearchAnswer, Step};

use crate::{context::Context, exit, exit::Failure, inputs, inputs::VectorInput, output};

/// Find the entries nearest to a vector, or to an entry
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("near").required(true).args(["vector", "vector_file", "like"]),
    after_long_help = "\
Examples:
  vecgrid search films --like alien
  vecgrid search films --vector '[0.1, 0.8, 0.3]' --k 5
  vecgrid search films --like alien --filter '{\"year\": {\"$lt\": 1990}, \"$not\": {\"genre\": \"war\"}}'
  vecgrid search films --like alien --exact                 scan everything: slower, always right
  vecgrid search films --like alien --json | jq -r '.hits[].id'

Filters know $eq $ne $gt $gte $lt $lte $in $nin $exists $contains $and $or $not.
Distances: smaller is nearer; cosine is 1 - cos, dot is the negated product."
)]
pub struct Search {
    /// The collection
    collection: String,
    #[command(flatten)]
    vector: VectorInput,
    /// Search near this entry, which is left out of the answer
    #[arg(long, value_name = "ID")]
    like: Option<String>,
    /// How many hits
    #[arg(long, short, default_value_t = 10)]
    k: u32,
    /// Breadth of the walk: more is slower and finds more [default: the collection's]
    #[arg(long)]
    ef: Option<u32>,
    /// Recall to reach on average, 0.5 to 0.999, instead of --ef [default: the collection's]
    #[arg(long, value_name = "SHARE", conflicts_with = "ef")]
    target_recall: Option<f64>,
    /// Only entries that match
    #[arg(long, short, value_name = "JSON", value_parser = inputs::object)]
    filter: Option<Value>,
    /// Scan everything instead of walking the graph
    #[arg(long)]
    exact: bool,
    /// Leave out hits farther than this
    #[arg(long, value_name = "DISTANCE", allow_negative_numbers = true)]
    max_distance: Option<f32>,
    /// Answer with vectors
    #[arg(long)]
    include_vector: bool,
    /// Say how the search was done
    #[arg(long)]
    explain: bool,
}

impl Search {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let client = context.client().await?;
        let vector = match (&self.like, self.vector.read()?) {
            (Some(id), _) => self.vector_of(&client, id).await?,
            (None, Some(vector)) => vector,
            (None, None) => return Err(Failure::usage("give --vector, --vector-file or --like").into()),
        };
        // The entry itself is its own nearest neighbour: ask for one more and leave it out.
        let ask = if self.like.is_some() { self.k.saturating_add(1).min(10_000) } else { self.k };
        let mut search = vecgrid_client::Search::new(&self.collection, vector)
            .k(if self.k == 0 { 0 } else { ask })
            .exact(self.exact)
            .include_vector(self.include_vector)
            .explain(self.explain);
        (search.ef, search.target_recall) = (self.ef, self.target_recall);
        (search.filter, search.max_distance) = (self.filter, self.max_distance);
        let mut answer = client.search(search).await?;
        if let Some(id) = &self.like {
            answer.hits.retain(|hit| hit.id != *id);
            answer.hits.truncate(self.k as usize);
        }
        if context.json() {
            print_json(&answer)?
        } else {
            print_table(&answer, self.include_vector)?
        }
        Ok(exit::OK)
    }

    async fn vector_of(&self, client: &Client, id: &str) -> anyhow::Result<Vec<f32>> {
        let shown = output::printable(id);
        match client.get(&self.collection, id).await? {
            None => {
                let hint = format!("See some that it has: vecgrid scroll {} --limit 10", self.collection);
                Err(Failure::not_found(format!("`{}` has no entry `{shown}`", self.collection))
                    .hint(hint)
                    .into())
            }
            Some(entry) => match entry.vector {
                Some(vector) => Ok(vector),
                None => Err(Failure::usage(format!("the entry `{shown}` has no vector")).into()),
            },
        }
    }
}

/// As over REST. Not a `Value`, which would show each f32 with a double's digits.
#[derive(Serialize)]
struct AnswerJson<'a> {
    hits: &'a [Hit],
    coverage: Coverage,
    took_us: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<&'a Explain>,
}

fn print_json(answer: &SearchAnswer) -> std::io::Result<()> {
    let SearchAnswer { hits, coverage, took, explain, .. } = answer;
    let took_us = took.as_micros();
    output::json(&AnswerJson { hits, coverage: *coverage, took_us, explain: explain.as_ref() })
}

fn print_table(answer: &SearchAnswer, with_vector: bool) -> std::io::Result<()> {
    let mut head = vec!["distance", "id", "metadata"];
    if with_vector {
        head.push("vector");
    }
    let rows: Vec<Vec<String>> = answer
        .hits
        .iter()
        .map(|hit| {
            let mut row = vec![format!("{:.6}", hit.distance), output::printable(&hit.id)];
            row.push(hit.metadata.as_ref().map(output::metadata_line).unwrap_or_default());
            if with_vector {
                row.push(json!(hit.vector).to_string());
            }
            row
        })
        .collect();
    if rows.is_empty() {
        eprintln!("No hits.");
    } else {
        output::table(&head, &rows)?;
    }
    eprintln!("{}", footer(answer.hits.len(), answer.took));
    if !answer.coverage.is_full() {
        let coverage = answer.coverage;
        eprintln!("warning: only {} of {} partitions answered", coverage.answered, coverage.partitions);
    }
    if let Some(explain) = &answer.explain {
        print_explain(explain);
    }
    Ok(())
}

fn print_explain(explain: &Explain) {
    let Explain { plan, ef, eligible, filtered, visited, estimated, reranked, tail, distances, .. } = explain;
    let target = explain.target_recall.map(|target| format!(" for recall {target}")).unwrap_or_default();
    eprintln!(
        "plan {plan}, ef {ef}{target}, {eligible} eligible entries ({filtered} of them looked at one by one)"
    );
    eprintln!("{visited} visited, {estimated} distances estimated, {reranked} reranked");
    eprintln!("{tail} in the tail, {distances} exact distances");
    let step = |step: &Step| format!("{} {:.1} us", step.name, step.took_ns as f64 / 1e3);
    eprintln!("{}", explain.steps.iter().map(step).collect::<Vec<_>>().join(", "));
}

fn footer(hits: usize, took: Duration) -> String {
    let hits = if hits == 1 { "1 hit".to_owned() } else { format!("{hits} hits") };
    format!("{hits}, {:.2} ms in the daemon", took.as_secs_f64() * 1e3)
}
