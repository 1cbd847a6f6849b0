//! The handlers of the control API's table.

use proto_contracts::control::ControlHandlers;
use service_kit::routes::{handler, mount_paths};

use actix_web::web::ServiceConfig;

use crate::control::{
    board, changes, class, conversation, drain, events, explain, instances, lab, lessons, openapi,
    pools, reload, traffic,
};

/// Mounts everything that the control plane serves besides health and metrics.
pub(super) fn mount(app: &mut ServiceConfig) {
    let handlers = ControlHandlers {
        pools: handler(pools::list),
        set_strategy: handler(pools::set_strategy),
        add_instance: handler(instances::add),
        change_instance: handler(instances::change),
        remove_instance: handler(instances::remove),
        drain_instance: handler(drain::drain),
        undrain_instance: handler(drain::undrain),
        explain: handler(explain::explain),
        class: handler(class::show),
        reset_class: handler(class::reset),
        kick: handler(class::kick),
        reload: handler(reload::reload),
        events: handler(events::stream),
        lab: handler(lab::show),
        act_in_lab: handler(lab::act),
        scale_in_lab: handler(lab::scale),
        traffic: handler(traffic::show),
        drive_traffic: handler(traffic::drive),
        stop_traffic: handler(traffic::stop),
        converse: handler(conversation::converse),
        lessons: handler(lessons::show),
        start_lesson: handler(lessons::start),
        continue_lesson: handler(lessons::go_on),
        stop_lesson: handler(lessons::stop),
        openapi: handler(openapi::document),
    };
    let paths = handlers.into_paths().into_iter().map(|(path, methods)| {
        let passed_on = |(method, route)| (method, changes::passed_on(path, method, route));
        (path, methods.into_iter().map(passed_on).collect())
    });
    mount_paths(app, paths.collect());
    board::mount(app);
}
