//! The lessons: their names, questions, theory and explanations, and what they need.

use local_stack::Store;

/// A lesson.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// Round robin is even.
    RoundRobin,
    /// A cookie keeps a client home.
    Cookie,
    /// State in memory without stickiness.
    Memory,
    /// A crash, by session store.
    Crash,
    /// Scaling out.
    Scaling,
    /// What stickiness buys.
    Reads,
    /// A hot key and the load bound.
    HotKey,
    /// A drain against a kill.
    Drain,
    /// Sticky by address, and NAT.
    Nat,
    /// Redis is away.
    RedisAway,
    /// A signed token against a session.
    Token,
}

/// The texts of a lesson.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its number in issue and lesson plans.
    pub number: u8,
    /// Its name on the command line.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// The question to the class.
    pub question: &'static str,
    /// What theory says, and why.
    pub theory: &'static str,
    /// What the numbers show.
    pub explanation: &'static str,
}

impl Lesson {
    /// All lessons, in order.
    pub const ALL: [Self; 11] = [
        Self::RoundRobin,
        Self::Cookie,
        Self::Memory,
        Self::Crash,
        Self::Scaling,
        Self::Reads,
        Self::HotKey,
        Self::Drain,
        Self::Nat,
        Self::RedisAway,
        Self::Token,
    ];
}

/// What a lesson needs of its system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Its session store; `None`: any that all instances share.
    pub(crate) store: Option<Store>,
    /// A system that nobody else uses: components are killed, or sessions of others would count.
    pub(crate) own: bool,
    /// A gateway that waits for suspended instances. Only with `own`.
    pub(crate) patient: bool,
}

impl Needs {
    /// In words.
    pub(crate) fn text(self) -> &'static str {
        match (self.own, self.store) {
            (true, _) => "a system of its own",
            (false, Some(Store::Memory)) => "sessions in memory",
            (false, Some(Store::Hybrid)) => "the hybrid session store",
            (false, _) => "sessions in Redis",
        }
    }
}

/// What this lesson needs. The lesson of the crash has each store in turn.
pub(crate) const fn needs(lesson: Lesson) -> Needs {
    let shared = Needs { store: None, own: false, patient: false };
    match lesson {
        Lesson::RoundRobin | Lesson::Cookie | Lesson::Scaling => shared,
        Lesson::Memory => Needs { store: Some(Store::Memory), ..shared },
        Lesson::Reads => Needs { store: Some(Store::Hybrid), ..shared },
        Lesson::Drain | Lesson::Crash => {
            Needs { store: Some(Store::Memory), own: true, patient: false }
        }
        Lesson::HotKey => Needs { store: Some(Store::Hybrid), own: true, patient: true },
        Lesson::Nat => Needs { own: true, ..shared },
        Lesson::RedisAway => Needs { store: Some(Store::Hybrid), own: true, patient: false },
        Lesson::Token => Needs { store: Some(Store::Redis), own: true, patient: false },
    }
}

/// About how long this lesson measures on an idle machine, in seconds.
pub(crate) const fn about_s(lesson: Lesson) -> u16 {
    match lesson {
        Lesson::RoundRobin | Lesson::Cookie | Lesson::Memory | Lesson::Reads => 3,
        Lesson::Scaling | Lesson::Drain | Lesson::Nat | Lesson::Token => 6,
        Lesson::Crash | Lesson::HotKey | Lesson::RedisAway => 20,
    }
}

/// The texts of this lesson.
pub const fn entry(lesson: Lesson) -> Entry {
    match lesson {
        Lesson::RoundRobin => Entry {
            number: 1,
            name: "round-robin",
            title: "Round robin is even",
            question: "Requests without state go to N instances in turn. What share of them does \
                       each instance get?",
            theory: "1/N each: whoever asks, the next request goes to the next instance.",
            explanation: "Round robin knows no client and no key. It is exact when nobody else \
                          sends requests; requests of others in between shift our turns, which is \
                          why the tolerance is that of a random choice.",
        },
        Lesson::Cookie => Entry {
            number: 2,
            name: "cookie",
            title: "A cookie keeps a client home",
            question: "Clients with and without a cookie jar talk to one of N instances, then send \
                       more messages. How many of these reach the same instance as the first?",
            theory: "With the cookie all of them: the hash of its key selects the instance. \
                     Without it each request gets a new key, so 1/N do by chance.",
            explanation: "The cookie holds a key of 32 random bits and no server's name. A client \
                          that drops it is a new client each time, and every request of it counts \
                          as the verdict `new`. Of the clients, as many are counted at each \
                          instance: a new key prefers a home with few sessions, so the shares of \
                          the instances are not 1/N, but their mean is.",
        },
        Lesson::Memory => Entry {
            number: 3,
            name: "memory",
            title: "State in memory, without stickiness",
            question: "Each of N instances keeps sessions in its own memory. Sticky routing is \
                       switched off. What share of the reads does not find its session?",
            theory: "1 − 1/N: the reads of a session take turns, and one of N instances has the \
                     session. After the switch back none is lost, because the hash leads to the \
                     same homes.",
            explanation: "Nothing was deleted: the sessions are where they were, and the reads \
                          went elsewhere. That is why this failure comes and goes in production. \
                          It is exact when nobody else sends requests; those of others shift the \
                          turns, and the tolerance is that of a random choice.",
        },
        Lesson::Crash => Entry {
            number: 4,
            name: "crash",
            title: "A crash, with three session stores",
            question: "One of N instances is killed. What share of the sessions is gone when they \
                       are kept in memory, in Redis, and in Redis with a hot copy in memory?",
            theory: "In memory, those of that instance: 1/N, if its clients came with keys from \
                     earlier visits. In Redis and in the hybrid store none: the copy in memory is \
                     never the only one.",
            explanation: "A new client's key is chosen so that its home has few sessions; \
                          therefore these clients bring random keys. The gateway sends a client whose home is down to the next instance of \
                          its ranking (verdict `failover`). That saves requests; only the store \
                          can save the state.",
        },
        Lesson::Scaling => Entry {
            number: 5,
            name: "scaling",
            title: "Scaling out moves 1/(N+1) of the keys",
            question: "One instance joins N others. What share of the clients changes its \
                       instance, by rendezvous hashing, by a ketama ring, and by hash mod N?",
            theory: "1/(N+1) must move, since the newcomer gets its share; rendezvous hashing and \
                     the ring move no more. Modulo N agrees with modulo N+1 for 1/(N+1) of the \
                     keys only, so N/(N+1) move.",
            explanation: "Rendezvous hashing scores each pair of key and instance on its own: a \
                          newcomer wins a key or changes nothing. A ring has uneven arcs, hence \
                          its wider tolerance. Modulo shuffles nearly everything, and with it every \
                          cache and every session in memory.",
        },
        Lesson::Reads => Entry {
            number: 6,
            name: "reads",
            title: "What stickiness buys",
            question: "Sessions are in Redis, with a hot copy at their home. What share of the \
                       reads needs no Redis, with sticky routing and with round robin?",
            theory: "With sticky routing all of them: each is at the instance that holds the copy. \
                     With round robin none: no instance may trust a copy that another one could \
                     have made old.",
            explanation: "The first read after a switch fetches the copy and does not count. The \
                          durations are those of this machine at this moment, with everything \
                          on it; they are shown and not judged. In a data center a round trip to \
                          Redis costs more than here. `make bench` measures with care.",
        },
        Lesson::HotKey => Entry {
            number: 7,
            name: "hot-key",
            title: "A hot key and the load bound",
            question: "Everybody reads the same session at the same time, and its home is one of N \
                       instances. What share of these requests does the home get, when there are \
                       few of them, and when there are many?",
            theory: "Few: all, since below 64 in flight no bound applies. Many: 1.25/N, since an \
                     instance may have 1.25 times its share of the requests in flight. The others \
                     go to the next instances of the ranking, with the verdict `spilled`.",
            explanation: "Consistent hashing with bounded loads (Mirrokni et al., 2016). A spilled \
                          read is served from Redis, and its session stays at home. To have every \
                          request in flight at once, the lesson suspends the instances until the \
                          gateway has sent all. A store in memory has no bound: another instance \
                          would not find the session.",
        },
        Lesson::Drain => Entry {
            number: 8,
            name: "drain",
            title: "A drain against a kill",
            question: "An instance with sessions in its memory must go. What becomes of its \
                       sessions, and where do new clients go, when it is drained, and when it is \
                       killed?",
            theory: "While it drains it keeps all its sessions and gets no new client. Killed, it \
                     takes all its sessions with it.",
            explanation: "A drain buys time and not durability: when its deadline comes, sessions \
                          in memory are lost, too. With a store that outlives the instance nothing \
                          is lost either way, and the drain only saves failovers.",
        },
        Lesson::Nat => Entry {
            number: 9,
            name: "nat",
            title: "Sticky by address, and what a NAT does to it",
            question: "Instead of a cookie, the client's address selects one of N instances. A \
                       class of clients sits behind one NAT. What share of it does the busiest \
                       instance get? And a phone that changes its network?",
            theory: "By address, all of the class: it is one address. A phone in a new network \
                     finds its instance with probability 1/N. The cookie knows clients and not \
                     networks: 1/N of the class for each instance, and every phone finds its own.",
            explanation: "The clients bring random keys from earlier visits: a new client's key \
                          would be chosen so that its home has few sessions. The busiest of N \
                          shares is above the mean by chance, but not by the tolerance. \
                          `ip_hash` hashes the first three octets of an IPv4 address, as in Nginx, \
                          so even a whole network of different addresses is one client. Requests \
                          of the lesson name their addresses in X-Forwarded-For, which the gateway \
                          believes from this machine.",
        },
        Lesson::RedisAway => Entry {
            number: 10,
            name: "redis-away",
            title: "Redis is away: what still works",
            question: "The Redis of the sessions ends. What share of stateless requests, of reads \
                       of hot sessions and of writes succeeds? And what is lost when it is back?",
            theory: "Stateless requests need no session: all. Hot sessions are read from memory, \
                     all. Their instance has a lease for them, so they are current; once it has \
                     ended, they are marked `unverified`. Writes can be promised by nobody: none. \
                     Redis wrote each acknowledged message to its disk first, so nothing is lost.",
            explanation: "Copies are served for a minute after the lease. A 503 of a write means unknown: repeat it with the same idempotency key. \
                          The service could have accepted it in memory; then an acknowledged \
                          message would depend on one process.",
        },
        Lesson::Token => Entry {
            number: 11,
            name: "token",
            title: "A signed token against a session",
            question: "A user with a signed token asks for the audit log, which is for admins, and \
                       reads a session. What does each service look up to know the caller? And \
                       which one still knows the token when the user has logged out everywhere?",
            theory: "The stateless service looks up nothing: the signature proves the claims, and \
                     the role is one of them, so it responds even while the database is away. A \
                     session is looked up once for each read, and that lookup also shows the \
                     revocation. The stateless service cannot know of it until the token expires.",
            explanation: "This is the price of both: a lookup for each request, or up to 15 minutes \
                          with a token that should not work any more. A user whom the token proves \
                          gets 403 from the audit log, one with a forged signature 401. Sessions \
                          learn of a revocation within a second; the lesson waits for it.",
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_numbers_are_distinct_and_in_order() {
        let entries = Lesson::ALL.map(entry);
        let names: BTreeSet<_> = entries.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), entries.len());
        assert!(entries.windows(2).all(|pair| pair[0].number < pair[1].number));
    }
}
