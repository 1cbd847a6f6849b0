//! Tables of operations by path, for APIs that no gateway resolves.

/// Generates the struct of handlers, and `OPERATIONS`, from rows by path.
macro_rules! table {
    (
        $(#[$doc:meta])*
        $handlers:ident {
            $($path:literal { $($id:ident: $method:ident $details:path;)* })*
        }
    ) => {
        $(#[$doc])*
        #[expect(missing_docs, reason = "each field is the operation of the same id")]
        pub struct $handlers<H> {
            $($(pub $id: H,)*)*
        }

        impl<H> $handlers<H> {
            /// Each path with its methods and their handlers.
            pub fn into_paths(self) -> Vec<(&'static str, Vec<($crate::openapi::Method, H)>)> {
                vec![$(($path, vec![$(($crate::openapi::Method::$method, self.$id),)*]),)*]
            }
        }

        /// Every operation.
        const OPERATIONS: &[$crate::openapi::Described<'static>] = &[
            $($($crate::openapi::Described {
                path: $path,
                method: $crate::openapi::Method::$method,
                id: stringify!($id),
                details: &$details,
                successor: None,
            },)*)*
        ];
    };
}

pub(crate) use table;
