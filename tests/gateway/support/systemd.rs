//! Plays systemd: opens sockets, keeps them open, and hands them to the program whenever it starts it.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use super::replica::Replica;

/// It ends with its journey, and so does what it started.
pub(crate) struct Systemd {
    process: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Systemd {
    /// Opens the sockets, each `NAME=unix:/path`, `NAME=ADDRESS:PORT`, or one that nobody can listen on: `NAME=udp` and
    /// `NAME=deaf`. The program is to run as that replica; what it says goes to a file of that name in its folder.
    pub(crate) fn holding(sockets: &[String], replica: &Replica, log: &str) -> Self {
        let mut process = Command::new("python3")
            .args(["-c", PLAY, env!("CARGO_BIN_EXE_portcullis")])
            .arg(replica.settings_file())
            .arg(replica.folder.join(log))
            .args(sockets)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .envs(replica.environment().iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, says) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let mut systemd = Self { process, told, says };
        assert_eq!(systemd.heard(), "open");
        systemd
    }

    /// Starts the program.
    pub(crate) fn start(&mut self) {
        assert_eq!(self.answer("start"), "started");
    }

    /// Has it end, and waits for that; gives its exit status.
    pub(crate) fn stop(&mut self) -> String {
        self.answer("stop")
    }

    /// Waits until it has ended by itself; gives its exit status.
    pub(crate) fn wait(&mut self) -> String {
        self.answer("wait")
    }

    fn answer(&mut self, word: &str) -> String {
        writeln!(self.told, "{word}").unwrap();
        self.heard()
    }

    fn heard(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = writeln!(self.told, "stop");
        let _ = writeln!(self.told, "end");
        let _ = self.process.wait();
    }
}

/// What the program said.
pub(crate) fn log(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// `sd_listen_fds(3)` from the other side.
const PLAY: &str = r#"
import fcntl, os, signal, socket, sys

program, settings, log, *wanted = sys.argv[1:]

def opened(text):
    if text == "udp":
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind(("127.0.0.1", 0))
        return one
    if text == "deaf":
        one = socket.socket()
        one.bind(("127.0.0.1", 0))
        return one
    if text.startswith("unix:"):
        path, _, mode = text[5:].partition(",")
        one = socket.socket(socket.AF_UNIX)
        one.bind(path)
        os.chmod(path, int(mode or "660", 8))
    else:
        host, port = text.rsplit(":", 1)
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((host, int(port)))
    one.listen(1024)
    return one

held = [(name, opened(text)) for name, _, text in (one.partition("=") for one in wanted)]
print("open", flush=True)

def become():
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    apart = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, 100) for _, one in held]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(said, 1)
    os.dup2(said, 2)
    for place, one in enumerate(apart):
        os.dup2(one, 3 + place)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(held))
    os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _ in held)
    os.execv(program, [program, "serve", "--config", settings])

pid = 0
for line in sys.stdin:
    word = line.strip()
    if word == "start":
        pid = os.fork()
        if pid == 0:
            become()
        print("started", flush=True)
    elif word in ("stop", "wait"):
        if pid == 0:
            continue
        if word == "stop":
            os.kill(pid, signal.SIGTERM)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        pid = 0
    else:
        break
"#;
