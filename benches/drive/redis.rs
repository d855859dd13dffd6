//! A word with Redis behind everybody's back: what it was asked so far, what it holds, and
//! where the sessions are.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context, bail};

/// How often Redis was asked each thing, but for what a connection says of itself, and for the beats by which gateways
/// prove that they hear each other, whoever asks them.
pub(crate) fn commands(socket: &Path) -> anyhow::Result<BTreeMap<String, u64>> {
    Ok(without_beats(counted(&ask(socket, "INFO commandstats")?)))
}

fn counted(statistics: &str) -> BTreeMap<String, u64> {
    let counted = statistics.lines().filter_map(|line| {
        let (name, numbers) = line.strip_prefix("cmdstat_")?.split_once(':')?;
        let calls = numbers.strip_prefix("calls=")?.split(',').next()?;
        Some((name.to_owned(), calls.parse().ok()?))
    });
    counted.filter(|(name, _)| !is_background(name)).collect()
}

/// Each beat is one script that asks some things. What else publishes is not done while verify is measured.
fn without_beats(mut commands: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let beats = commands.get("publish").copied().unwrap_or_default();
    for name in OF_A_BEAT {
        if let Some(count) = commands.get_mut(name) {
            *count = count.saturating_sub(beats);
        }
    }
    commands
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
    matches!(command, "auth" | "client" | "hello" | "info" | "keys" | "ping" | "select" | "subscribe")
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

/// What the store's beat.lua asks each time.
const OF_A_BEAT: [&str; 5] = ["evalsha", "get", "pttl", "publish", "setrange"];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(statistics: &str, expected: &[(&str, u64)]) {
        let expected = expected.iter().map(|(name, calls)| ((*name).to_owned(), *calls)).collect();
        assert_eq!(without_beats(counted(statistics)), expected);
    }

    #[test]
    fn beats_and_what_a_connection_says_of_itself_do_not_count() {
        check(
            "# Commandstats\r\n\
             cmdstat_hmget:calls=12,usec=30,usec_per_call=2.5\r\n\
             cmdstat_evalsha:calls=7,usec=9\r\n\
             cmdstat_publish:calls=5,usec=9\r\n\
             cmdstat_get:calls=5,usec=9\r\n\
             cmdstat_pttl:calls=4,usec=9\r\n\
             cmdstat_client|setinfo:calls=2,usec=9\r\n",
            &[("evalsha", 2), ("get", 0), ("hmget", 12), ("pttl", 0), ("publish", 0)],
        );
    }

    #[test]
    fn what_is_asked_without_beats_counts() {
        check("cmdstat_hmget:calls=3,usec=1\r\ncmdstat_exists:calls=2,usec=1\r\n", &[("exists", 2), ("hmget", 3)]);
    }
}
