//! A word with Redis behind everybody's back: what it was asked so far, what it holds, and
//! where the sessions are.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context, bail};

/// How often Redis was asked each thing, but for what a connection says of itself.
pub(crate) fn commands(socket: &Path) -> anyhow::Result<BTreeMap<String, u64>> {
    let statistics = ask(socket, "INFO commandstats")?;
    let counted = statistics.lines().filter_map(|line| {
        let (name, numbers) = line.strip_prefix("cmdstat_")?.split_once(':')?;
        let calls = numbers.strip_prefix("calls=")?.split(',').next()?;
        Some((name.to_owned(), calls.parse().ok()?))
    });
    Ok(counted.filter(|(name, _)| !is_background(name)).collect())
}

/// The keys of all session records.
pub(crate) fn records(socket: &Path) -> anyhow::Result<Vec<String>> {
    Ok(ask(socket, "KEYS *:session:*")?.lines().map(str::to_owned).collect())
}

/// The bytes that it has taken for its data.
pub(crate) fn used_memory(socket: &Path) -> anyhow::Result<f64> {
    let said = ask(socket, "INFO memory")?;
    let used = said.lines().find_map(|line| line.strip_prefix("used_memory:")).context("Redis hides its memory")?;
    Ok(used.trim().parse()?)
}

fn is_background(command: &str) -> bool {
    let command = command.split('|').next().unwrap_or_default();
    matches!(command, "auth" | "client" | "hello" | "info" | "keys" | "ping" | "select")
}

/// Asks one thing; strings of a list are a line each.
fn ask(socket: &Path, command: &str) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let (kind, number) = head(&mut reader)?;
    match kind {
        '$' => bulk(&mut reader, number),
        '*' => {
            let items = (0..number).map(|_| {
                let (_, length) = head(&mut reader)?;
                bulk(&mut reader, length)
            });
            Ok(items.collect::<anyhow::Result<Vec<_>>>()?.join("\n"))
        }
        _ => bail!("Redis refuses: {command}"),
    }
}

fn head(reader: &mut impl BufRead) -> anyhow::Result<(char, usize)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut characters = line.trim_end().chars();
    let kind = characters.next().context("Redis says nothing")?;
    Ok((kind, characters.as_str().parse().unwrap_or_default()))
}

fn bulk(reader: &mut impl Read, length: usize) -> anyhow::Result<String> {
    let mut bytes = vec![0; length + "\r\n".len()];
    reader.read_exact(&mut bytes)?;
    bytes.truncate(length);
    Ok(String::from_utf8(bytes)?)
}
