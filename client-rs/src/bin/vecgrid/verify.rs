//! `vecgrid verify`

use std::collections::BTreeMap;

use clap::Args;
use futures::{StreamExt, stream};
use serde_json::json;
use vecgrid_client::{GridStatus, Verified};

use crate::{context::Context, exit, members::label, output, progress};

/// Partitions that are compared at a time: each member reads one copy at a time anyway.
const AT_ONCE: usize = 4;

/// Read all copies of all partitions and compare them
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid verify                      all partitions; says what differs, and where
  vecgrid verify --partition 7        one of them
  vecgrid verify --json | jq '.copies[] | select(.differences != [])'

Each copy is compared with what was written to it, with its index, and with the primary's copy, while the grid serves.
A copy that differs from its primary is taken anew, and an index that does not show its rows is made equal to them: a
second run says whether that helped. The daemons do the same in the background, slowly (vecgridd --verify-seconds).

Exit code: 0 when all copies are equal, 1 when something differs or could not be compared.")]
pub struct Verify {
    /// Only this partition
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
}

impl Verify {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let client = context.client().await?;
        let grid = client.grid_status().await?;
        let wanted: Vec<u32> = match self.partition {
            Some(partition) => vec![partition],
            None => grid.partitions.iter().map(|partition| partition.partition).collect(),
        };
        let bar = progress::verified(wanted.len() as u64, context.json());
        let mut answers = stream::iter(wanted.iter().copied())
            .map(|partition| {
                let client = &client;
                async move { (partition, client.verify(partition).await) }
            })
            .buffer_unordered(AT_ONCE);
        let mut verified = BTreeMap::new();
        let mut failed = BTreeMap::new();
        while let Some((partition, answer)) = answers.next().await {
            match answer {
                Ok(answer) => _ = verified.insert(partition, answer),
                // One that cannot be verified now does not keep the others from it.
                Err(error) if wanted.len() > 1 => _ = failed.insert(partition, error.to_string()),
                Err(error) => return Err(error.into()),
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        report(&grid, &verified, &failed, context.json())?;
        let equal = failed.is_empty() && verified.values().all(|partition| partition.verdict == "equal");
        Ok(if equal { exit::OK } else { exit::OTHER })
    }
}

fn report(
    grid: &GridStatus,
    verified: &BTreeMap<u32, Verified>,
    failed: &BTreeMap<u32, String>,
    json: bool,
) -> std::io::Result<()> {
    let with = |verdict: &str| verified.values().filter(|found| found.verdict == verdict).count();
    let (equal, differ, open) = (with("equal"), with("differs"), with("unverified") + failed.len());
    let copies: Vec<_> = verified.values().flat_map(|found| &found.copies).collect();
    let rows: u64 = copies.iter().map(|copy| copy.rows).sum();
    let verdict = match (differ, open) {
        (1.., _) => "differs",
        (0, 1..) => "unverified",
        (0, 0) => "equal",
    };
    if json {
        let noteworthy = verified.values().filter(|found| found.verdict != "equal");
        let copies: Vec<_> = noteworthy
            .flat_map(|found| found.copies.iter().map(move |copy| (found.partition, copy)))
            .filter(|(_, copy)| !copy.differences.is_empty() || !copy.unverified.is_empty())
            .map(|(partition, copy)| {
                json!({"partition": partition, "member": copy.member, "rows": copy.rows, "version": copy.version,
                    "differences": copy.differences, "unverified": copy.unverified})
            })
            .collect();
        let failed: Vec<_> =
            failed.iter().map(|(partition, why)| json!({"partition": partition, "why": why})).collect();
        return output::json(&json!({
            "verdict": verdict, "equal": equal, "differ": differ, "unverified": open,
            "rows_read": rows, "copies": copies, "failed": failed,
        }));
    }
    let name = |id: &str| {
        let member = grid.members.iter().find(|member| member.id == id);
        member.map_or_else(|| output::printable(id), label)
    };
    let mut lines = Vec::new();
    for found in verified.values() {
        for copy in &found.copies {
            for difference in &copy.differences {
                let ids: Vec<String> = difference.ids.iter().map(|id| output::printable(id)).collect();
                lines.push(vec![
                    found.partition.to_string(),
                    name(&copy.member),
                    difference.what.clone(),
                    if difference.collection.is_empty() {
                        "-".to_owned()
                    } else {
                        difference.collection.clone()
                    },
                    output::grouped(difference.rows),
                    ids.join(", "),
                ]);
            }
            if !copy.unverified.is_empty() {
                let why = output::printable(&copy.unverified);
                let dash = || "-".to_owned();
                lines.push(vec![
                    found.partition.to_string(),
                    name(&copy.member),
                    "not compared".to_owned(),
                    dash(),
                    dash(),
                    why,
                ]);
            }
        }
    }
    for (partition, why) in failed {
        let dash = || "-".to_owned();
        let why = output::printable(why);
        lines.push(vec![partition.to_string(), dash(), "not compared".to_owned(), dash(), dash(), why]);
    }
    if !lines.is_empty() {
        output::table(&["partition", "member", "what", "collection", "rows", "ids, or why"], &lines)?;
    }
    let total = verified.len() + failed.len();
    let read = output::grouped(rows);
    output::text(&match verdict {
        "equal" => {
            format!(
                "{total} partitions, {} copies, {read} rows read: all equal, and what they should be",
                copies.len()
            )
        }
        "differs" => format!(
            "{differ} of {total} partitions DIFFER ({open} not compared, {read} rows read). What can be mended is being \
             mended: run it again"
        ),
        _ => format!("{open} of {total} partitions could not be compared; in the others nothing differs"),
    })
}
