//! `vecgrid export`
//!
//! A file is written beside its place and moved there when it is whole, so a broken export never
//! looks like a good one.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufWriter, stdout},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result};
use clap::Args;
use futures::StreamExt;
use serde_json::{Value, json};
use vecgrid_client::{Client, CollectionInfo, Scroll};

use crate::{
    context::Context,
    exit,
    exit::Failure,
    formats::{Format, Writer, ndjson::NdjsonWriter, npy_writer::NpyWriter, parquet_writer::ParquetWriter},
    inputs, output, progress,
};

/// Bytes of a page, about.
const PAGE_BYTES: u32 = 8 << 20;

/// Write a collection to a file
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid export films films.parquet
  vecgrid export films films.ndjson --filter '{\"year\": {\"$gte\": 1970}}'
  vecgrid export films vectors.npy --metadata rows.jsonl
  vecgrid export films - | head -1 | jq .metadata

What is exported can be imported again without loss. Entries that are written during an export may
or may not be in it.")]
pub struct Export {
    /// The collection
    collection: String,
    /// The file; `-` is standard output
    file: PathBuf,
    /// What to write [default: by extension]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// With .npy: the file for ids and metadata
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
    /// With --metadata: the field that gets the id
    #[arg(long, value_name = "NAME", default_value = "id", requires = "metadata")]
    id_field: String,
    /// Only entries that match
    #[arg(long, short, value_name = "JSON", value_parser = inputs::object)]
    filter: Option<Value>,
}

impl Export {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let format = Format::of(&self.file, self.format)?;
        if (format == Format::Npy) != self.metadata.is_some() {
            return Err(Failure::usage(
                "an .npy file needs --metadata FILE beside it, other formats have no use for it",
            )
            .into());
        }
        let to_stdout = self.file == Path::new("-");
        if to_stdout && format != Format::Ndjson {
            return Err(Failure::usage(format!("{format} cannot go to standard output")).into());
        }
        let client = context.client().await?;
        let info = client.get_collection(&self.collection).await?;
        let total = client.count(&self.collection, self.filter.as_ref()).await?;

        let started = Instant::now();
        let mut places = Vec::new();
        let result = self.write(&client, &info, format, total, context.json(), &mut places).await;
        let count = match result {
            Ok(count) => count,
            Err(error) => {
                places.into_iter().for_each(Place::discard);
                return Err(error);
            }
        };
        for place in places {
            place.publish()?;
        }
        let seconds = started.elapsed().as_secs_f64();
        if to_stdout {
            eprintln!("wrote {} entries in {seconds:.1} s", output::grouped(count));
        } else if context.json() {
            output::json(&json!({"written": count, "file": self.file, "seconds": seconds}))?;
        } else {
            let file = self.file.display();
            output::text(&format!("wrote {} entries to {file} in {seconds:.1} s", output::grouped(count)))?;
        }
        Ok(exit::OK)
    }

    async fn write(
        &self,
        client: &Client,
        info: &CollectionInfo,
        format: Format,
        total: u64,
        quiet: bool,
        places: &mut Vec<Place>,
    ) -> Result<u64> {
        let mut writer = self.writer(format, info, places)?;
        let row_bytes = info.config.dimension.saturating_mul(4).saturating_add(2_048);
        let page = (PAGE_BYTES / row_bytes).clamp(1, 1_000);
        let mut scroll = Scroll::new(&self.collection).include_vector(true).page(page);
        scroll.filter.clone_from(&self.filter);
        let bar = progress::entries(Some(total), quiet);
        let mut entries = client.scroll(scroll);
        let mut count = 0;
        while let Some(entry) = entries.next().await {
            writer.write(entry?)?;
            count += 1;
            bar.set_position(count);
        }
        writer.finish()?;
        bar.finish_and_clear();
        Ok(count)
    }

    fn writer(
        &self,
        format: Format,
        info: &CollectionInfo,
        places: &mut Vec<Place>,
    ) -> Result<Box<dyn Writer>> {
        let mut open = |path: &Path| -> Result<BufWriter<File>> {
            let (place, file) = Place::open(path)?;
            places.push(place);
            Ok(BufWriter::with_capacity(1 << 20, file))
        };
        Ok(match (format, &self.metadata) {
            (Format::Ndjson, _) if self.file == Path::new("-") => {
                Box::new(NdjsonWriter::new(BufWriter::with_capacity(64 << 10, stdout())))
            }
            (Format::Ndjson, _) => Box::new(NdjsonWriter::new(open(&self.file)?)),
            (Format::Parquet, _) => Box::new(ParquetWriter::new(open(&self.file)?)?),
            (Format::Npy, Some(metadata)) => {
                let (array, lines) = (open(&self.file)?, open(metadata)?);
                Box::new(NpyWriter::new(array, lines, &self.id_field, info.config.dimension as usize)?)
            }
            (Format::Npy, None) => return Err(Failure::usage("an .npy file needs --metadata FILE").into()),
        })
    }
}

/// Where a file goes, and where it is until it is whole.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// `None`: written in place, because it is a pipe or a device.
    temporary: Option<PathBuf>,
}

impl Place {
    fn open(path: &Path) -> Result<(Self, File)> {
        let special = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        let temporary = (!special).then(|| {
            let mut name = OsString::from(path);
            name.push(".part");
            PathBuf::from(name)
        });
        let target = temporary.as_deref().unwrap_or(path);
        let file = File::create(target).with_context(|| target.display().to_string())?;
        Ok((Self { path: path.to_owned(), temporary }, file))
    }

    fn publish(self) -> Result<()> {
        if let Some(temporary) = &self.temporary {
            File::open(temporary)?.sync_all()?;
            fs::rename(temporary, &self.path).with_context(|| self.path.display().to_string())?;
        }
        Ok(())
    }

    fn discard(self) {
        if let Some(temporary) = &self.temporary {
            // The error that brought us here is the one to report.
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.ndjson");
        fs::write(&path, "old").unwrap();
        let (place, _) = Place::open(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        place.discard();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let (place, file) = Place::open(&path).unwrap();
        std::io::Write::write_all(&mut &file, b"new").unwrap();
        place.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
