//! Sockets that somebody else opened, as systemd does: the gateway is restarted and no connection is refused.
