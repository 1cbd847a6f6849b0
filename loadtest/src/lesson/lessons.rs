//! The lessons. Each measures, then judges what it measured: a pure function, so that tests show
//! that it rejects measurements of a false claim.

mod cookie;
mod crash;
mod drain;
mod hot_key;
mod memory;
mod nat;
mod reads;
mod redis_away;
mod round_robin;
mod scaling;
mod sessions;
mod token;

use anyhow::Result;

use crate::lesson::catalogue::Lesson;
use crate::lesson::finding::Finding;
use crate::lesson::school::{Options, School};

/// Runs a lesson.
pub(crate) async fn run(
    lesson: Lesson,
    school: &mut School,
    options: Options,
) -> Result<Vec<Finding>> {
    match lesson {
        Lesson::RoundRobin => round_robin::run(school, options).await,
        Lesson::Cookie => cookie::run(school, options).await,
        Lesson::Memory => memory::run(school, options).await,
        Lesson::Crash => crash::run(school, options).await,
        Lesson::Scaling => scaling::run(school, options).await,
        Lesson::Reads => reads::run(school, options).await,
        Lesson::HotKey => hot_key::run(school, options).await,
        Lesson::Drain => drain::run(school, options).await,
        Lesson::Nat => nat::run(school, options).await,
        Lesson::RedisAway => redis_away::run(school, options).await,
        Lesson::Token => token::run(school, options).await,
    }
}
