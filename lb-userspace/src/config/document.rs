//! The keys of services and backends, for the document of the API: names only, since what each takes is said by the parser
//! and in docs/config.md.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, ObjectBuilder, Ref, RefOr, Schema,
        schema::{AdditionalProperties, SchemaType, Type},
    },
};

use super::schema;

/// A `[[service]]`.
#[derive(Debug)]
pub enum ServiceKeys {}

/// A `[[service.backend]]`.
#[derive(Debug)]
pub enum BackendKeys {}

impl ToSchema for ServiceKeys {
    fn name() -> Cow<'static, str> {
        "ServiceKeys".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((BackendKeys::name().into(), BackendKeys::schema()));
    }
}

impl PartialSchema for ServiceKeys {
    fn schema() -> RefOr<Schema> {
        let backends = ArrayBuilder::new().items(Ref::from_schema_name(BackendKeys::name()));
        let tables = [
            ("gue", &schema::GUE),
            ("rollout", &schema::ROLLOUT),
            ("probe", &schema::PROBE),
            ("guard", &schema::GUARD),
            ("passive", &schema::PASSIVE),
            ("quic", &schema::QUIC),
        ];
        let named = tables.map(|(key, keys)| (key, Schema::from(table(keys).build())));
        let service =
            named.into_iter().fold(table(&schema::SERVICE), |all, (key, keys)| all.property(key, keys));
        let service = ["address", "port", "protocol"].into_iter().fold(service, ObjectBuilder::required);
        let description = "The keys of a `[[service]]`, as docs/config.md has them; its name is in the path";
        Schema::from(service.property("backend", backends).description(Some(description)).build()).into()
    }
}

impl ToSchema for BackendKeys {
    fn name() -> Cow<'static, str> {
        "BackendKeys".into()
    }
}

impl PartialSchema for BackendKeys {
    fn schema() -> RefOr<Schema> {
        let description =
            "The keys of a `[[service.backend]]`, as docs/config.md has them; its name is in the path";
        let backend = table(&schema::BACKEND).required("address").description(Some(description));
        Schema::from(backend.build()).into()
    }
}

/// A table with these keys and no others.
fn table(schema: &schema::Schema) -> ObjectBuilder {
    // TOML has no null.
    let any = [Type::String, Type::Number, Type::Boolean, Type::Array, Type::Object];
    let anything = || ObjectBuilder::new().schema_type(SchemaType::from_iter(any.clone()));
    let table = ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    schema.keys.iter().fold(table, |table, key| table.property(*key, anything()))
}
