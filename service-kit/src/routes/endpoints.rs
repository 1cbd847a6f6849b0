//! Calls the handler of the endpoint that the [edge](crate::edge) has resolved.
//!
//! The framework's own routing tries a guard or a regular expression for each path and method in
//! turn, which took a third of the time of a session's read from memory.

use std::iter;

use actix_web::dev::{
    AppService, HttpServiceFactory, ResourceDef, Service, ServiceFactory, ServiceRequest,
    ServiceResponse, always_ready,
};
use actix_web::guard::{self, Guard};
use actix_web::{Error, HttpMessage as _, Route, http};
use futures_util::future::{self, LocalBoxFuture};
use proto_contracts::Endpoint;
use proto_contracts::openapi::Method;
use proto_contracts::routes::Resolved;

use super::methods::{MethodRoute, not_found, other_methods_than, serves};

/// The handlers of a pool's endpoints.
pub(super) struct Endpoints<R = Route>(Vec<Option<Methods<R>>>);

/// The handlers of one endpoint.
struct Methods<R> {
    handlers: Vec<(Method, R)>,
    /// For all other methods.
    other: R,
}

impl<R> Endpoints<R> {
    fn of(&self, endpoint: Endpoint) -> Option<&Methods<R>> {
        self.0.get(endpoint as usize)?.as_ref()
    }
}

impl<R> Methods<R> {
    fn of(&self, requested: &http::Method) -> &R {
        let handler = self.handlers.iter().find(|(method, _)| serves(*method, requested));
        handler.map_or(&self.other, |(_, handler)| handler)
    }
}

impl Endpoints {
    pub(super) fn new(endpoints: Vec<(Endpoint, Vec<MethodRoute>)>) -> Self {
        let mut methods: Vec<_> = iter::repeat_with(|| None).take(Endpoint::ALL.len()).collect();
        for (endpoint, handlers) in endpoints {
            let other = other_methods_than(&handlers);
            methods[endpoint as usize] = Some(Methods { handlers, other });
        }
        Self(methods)
    }
}

impl HttpServiceFactory for Endpoints {
    fn register(self, config: &mut AppService) {
        // All paths of the pools, and no other.
        let is_resolved = guard::fn_guard(|context| context.req_data().get::<Resolved>().is_some());
        let guards: Vec<Box<dyn Guard>> = vec![Box::new(is_resolved)];
        config.register_service(ResourceDef::root_prefix(""), Some(guards), self, None);
    }
}

impl ServiceFactory<ServiceRequest> for Endpoints {
    type Response = ServiceResponse;
    type Error = Error;
    type Config = ();
    type Service = Endpoints<RouteService>;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Self::Service, ()>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let services = self.0.iter().map(|methods| methods.as_ref().map(Methods::services));
        let services = future::join_all(services.map(future::OptionFuture::from));
        Box::pin(async {
            let services = services.await.into_iter().map(Option::transpose);
            services.collect::<Result<_, ()>>().map(Endpoints)
        })
    }
}

type RouteService = <Route as ServiceFactory<ServiceRequest>>::Service;

impl Methods<Route> {
    fn services(&self) -> impl Future<Output = Result<Methods<RouteService>, ()>> + use<> {
        let handlers = self.handlers.iter().map(|(method, route)| {
            let (method, service) = (*method, route.new_service(()));
            async move { Ok((method, service.await?)) }
        });
        let all = future::try_join(future::try_join_all(handlers), self.other.new_service(()));
        async { all.await.map(|(handlers, other)| Methods { handlers, other }) }
    }
}

impl Service<ServiceRequest> for Endpoints<RouteService> {
    type Response = ServiceResponse;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<ServiceResponse, Error>>;

    always_ready!();

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let resolved = request.extensions().get::<Resolved>().map(|resolved| resolved.endpoint);
        match resolved.and_then(|endpoint| self.of(endpoint)) {
            Some(methods) => methods.of(request.method()).call(request),
            None => Box::pin(future::ok(request.error_response(not_found()))),
        }
    }
}
