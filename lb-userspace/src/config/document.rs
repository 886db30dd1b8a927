//! The keys of services and backends with their types, for the document of the API. What each means is said in docs/config.md.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema,
        schema::{AdditionalProperties, Type},
    },
};

use super::{
    schema,
    shape::{self, Shape},
};

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
        let service = table(&schema::SERVICE);
        let service = ["address", "port", "protocol"].into_iter().fold(service, ObjectBuilder::required);
        let description = "The keys of a `[[service]]`, as docs/config.md has them; its name is in the path";
        Schema::from(service.description(Some(description)).build()).into()
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
    let table = ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    shape::keys(schema).fold(table, |table, (key, shape)| table.property(key, of(shape)))
}

fn of(shape: &Shape) -> RefOr<Schema> {
    let plain = |kind| ObjectBuilder::new().schema_type(kind);
    let built = match shape {
        Shape::Text => plain(Type::String),
        Shape::Boolean => plain(Type::Boolean),
        Shape::Integer(range) => {
            plain(Type::Integer).minimum(Some(*range.start())).maximum(Some(*range.end()))
        }
        Shape::Number(range) => plain(Type::Number).minimum(Some(*range.start())).maximum(Some(*range.end())),
        Shape::Texts => plain(Type::Object).additional_properties(Some(of(&Shape::Text))),
        Shape::Table(keys) if keys.header == schema::BACKEND.header => {
            return Ref::from_schema_name(BackendKeys::name()).into();
        }
        Shape::Table(keys) => table(keys),
        Shape::List(element) => return Schema::from(ArrayBuilder::new().items(of(element)).build()).into(),
        Shape::Either(shapes) => {
            let either = shapes.iter().fold(OneOfBuilder::new(), |all, shape| all.item(of(shape)));
            return Schema::from(either.build()).into();
        }
    };
    Schema::from(built.build()).into()
}
