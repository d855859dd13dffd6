//! Pure. The atomic steps that Redis runs for us, each a Lua file beside this one.
//!
//! All keys of one step carry the same hash tag, so that a cluster keeps them together. Each step may be repeated.

use deadpool_redis::redis::Script;

/// The steps, with their hashes worked out once.
pub(super) struct Scripts {
    pub(super) create: Script,
    pub(super) swap: Script,
    pub(super) end: Script,
    pub(super) join: Script,
    pub(super) members: Script,
    pub(super) count: Script,
    pub(super) mark: Script,
    pub(super) lock: Script,
    pub(super) unlock: Script,
    pub(super) window: Script,
    pub(super) throw: Script,
    pub(super) beat: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            create: Script::new(include_str!("create.lua")),
            swap: Script::new(include_str!("swap.lua")),
            end: Script::new(concat!(include_str!("now.lua"), include_str!("end.lua"))),
            join: Script::new(concat!(include_str!("now.lua"), include_str!("join.lua"))),
            members: Script::new(concat!(include_str!("now.lua"), include_str!("members.lua"))),
            count: Script::new(concat!(include_str!("now.lua"), include_str!("count.lua"))),
            mark: Script::new(include_str!("mark.lua")),
            lock: Script::new(include_str!("lock.lua")),
            unlock: Script::new(include_str!("unlock.lua")),
            window: Script::new(concat!(include_str!("now.lua"), include_str!("window.lua"))),
            throw: Script::new(include_str!("throw.lua")),
            beat: Script::new(include_str!("beat.lua")),
        }
    }
}
