//! Commands that do not run on the local stack, and why.

/// A rule matches commands that contain its text, or begin with it if it ends in a space.
const RULES: [(&str, &str); 25] = [
    ("…", "it stands for several commands"),
    ("infra/compose/", "it needs containers"),
    ("docker ", "it needs containers"),
    ("roll ", "it needs containers"),
    ("up ", "it needs containers"),
    ("kill -s SIGUSR2 haproxy", "it needs containers"),
    ("export OVERLAYS=", "it needs containers"),
    ("make compose-", "it needs containers"),
    ("systemctl ", "it needs a server with systemd"),
    ("infra/server/", "it needs a server with systemd"),
    ("infra/backup/", "it replaces data where the servers are"),
    ("make restore", "it stops the services, and replaces all data"),
    ("make drill-test", "it starts a system of its own"),
    ("make rollout", "it starts a system of its own"),
    ("make faults", "it starts a system of its own"),
    ("make alerts-test", "it starts a system of its own"),
    ("make postgres-failover-test", "it starts a system of its own"),
    ("make rollback-test", "it starts a system of its own"),
    ("make build-up", "it builds another release"),
    ("patronictl", "it needs containers"),
    ("make runbook-test", "it starts a system of its own"),
    ("make scale stateful=0", "it removes every instance, as the page says"),
    ("ACL SETUSER", "the local stack's Redis has no password"),
    ("redis-check-aof", "it needs a damaged file"),
    ("du -xh", "it reads every file of the machine"),
];

/// Why the command is not run; `None` if it is.
pub(super) fn reason(command: &str) -> Option<&'static str> {
    let matches = |text: &str| {
        if text.ends_with(' ') { command.starts_with(text) } else { command.contains(text) }
    };
    RULES.iter().find(|(text, _)| matches(text)).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_the_local_stack_have_no_reason() {
        for here in [
            "make roll i=stateful-2",
            "make up GATEWAYS=2",
            "redis-cli -p 8379 info memory",
            "df -h",
        ] {
            assert_eq!(reason(here), None, "{here}");
        }
        for elsewhere in [
            "roll gateway",
            "up -d",
            "docker ps",
            "OVERLAYS=ha infra/compose/compose.sh ps",
            "redis-cli …",
        ] {
            assert!(reason(elsewhere).is_some(), "{elsewhere}");
        }
    }
}
