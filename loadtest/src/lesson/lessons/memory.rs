//! Lesson 3. Made false by leaving sticky routing on.

use anyhow::Result;
use proto_contracts::PoolName;
use proto_contracts::control::Strategy;

use crate::lesson::catalogue::{Lesson, needs};
use crate::lesson::finding::Finding;
use crate::lesson::lessons::sessions::{Reads, read};
use crate::lesson::room::Room;
use crate::lesson::school::{Options, School};
use crate::lesson::visitor::Visitor;

const SESSIONS: usize = 60;
/// Reads of each session under round robin, for each instance.
const READS: usize = 3;

pub(super) async fn run(school: &mut School, options: Options) -> Result<Vec<Finding>> {
    let room = school.room(needs(Lesson::Memory)).await?;
    room.set_strategy(PoolName::Stateful, Strategy::Sticky).await?;
    let instances = room.instances(PoolName::Stateful).await?.len();
    let mut visitors = room.visitors(options.sample(SESSIONS)).await?;
    let before = read(&mut visitors, 1).await?;
    let in_turn = if options.falsify { Strategy::Sticky } else { Strategy::RoundRobin };
    room.set_strategy(PoolName::Stateful, in_turn).await?;
    let during = read(&mut visitors, READS * instances).await?;
    let after = back_home(room, &mut visitors).await?;
    Ok(judge(instances, before, during, after))
}

async fn back_home(room: &Room, visitors: &mut [(Visitor, String)]) -> Result<Reads> {
    room.set_strategy(PoolName::Stateful, Strategy::Sticky).await?;
    read(visitors, 1).await
}

fn judge(instances: usize, before: Reads, during: Reads, after: Reads) -> Vec<Finding> {
    let lost = 1.0 - 1.0 / instances as f64;
    [("sticky", before, 0.0), ("round robin", during, lost), ("sticky again", after, 0.0)]
        .map(|(when, reads, p)| {
            Finding::share(format!("sessions not found, {when}"), reads.lost, reads.all, p)
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(lost: [usize; 3]) -> bool {
        let [before, during, after] = lost;
        let of = |lost, all| Reads { lost, all };
        judge(3, of(before, 60), of(during, 540), of(after, 60)).iter().all(Finding::holds)
    }

    #[test]
    fn shared_state_or_lasting_losses_fail_the_lesson() {
        assert!(holds([0, 360, 0]) && holds([0, 350, 0]));
        assert!(!holds([0, 0, 0]), "sticky routing, or a store that all share");
        assert!(!holds([1, 360, 0]), "a session is lost at once");
        assert!(!holds([0, 360, 40]), "homes are not found again");
        assert!(!holds([0, 540, 0]), "no session is found");
    }
}
