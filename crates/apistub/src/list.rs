//! A list, or a page of one.
use crate::api::Api;
use crate::encoding::Encoding;
use crate::object::Stored;
use crate::protobuf;
use crate::query::{Query, Token};
use crate::refusal::Refusal;
use crate::resource::{Resource, Target};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use std::sync::Arc;

/// The body of the answer.
pub(crate) fn list(api: &Api, target: &Target, query: &Query, encoding: Encoding) -> Result<Bytes, Refusal> {
    let resource = target.resource;
    let exact = query.version.filter(|_| query.version_match == "Exact");
    let (at, after) = query.token.as_ref().map_or((exact, None), |token| (token.version, Some(&token.after)));
    let store = api.store();
    let page = store.page(resource, target.namespace.as_deref(), &query.selector, (at, after, query.limit));
    let page = page.map_err(|_| expired(query.token.as_ref()))?;
    let version = at.unwrap_or(store.version());
    drop(store);
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let Some(last) = page.last {
        metadata["continue"] = Token { version: Some(version), after: last }.encode().into();
        if query.selector.is_empty() {
            metadata["remainingItemCount"] = page.remaining.into();
        }
    }
    Ok(match encoding {
        Encoding::Json => json(resource, &metadata, &page.objects),
        Encoding::Protobuf => {
            let message = protobuf::list(&metadata, page.objects.iter().map(|object| &object.message(resource)[..]));
            let kind = format!("{}List", resource.kind);
            protobuf::wrapped((&resource.api_version(), &kind), &message).into()
        }
    })
}

fn json(resource: &Resource, metadata: &Value, objects: &[Arc<Stored>]) -> Bytes {
    let (kind, version) = (resource.kind, resource.api_version());
    let head = format!(r#"{{"kind":"{kind}List","apiVersion":"{version}","metadata":{metadata},"items":["#);
    let mut body = BytesMut::from(head.as_bytes());
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            body.put_u8(b',');
        }
        object.write_item(&mut body);
    }
    body.put_slice(b"]}\n");
    body.freeze()
}

/// With a token at hand, the client may go on with an inconsistent list: the way the server says so.
fn expired(token: Option<&Token>) -> Refusal {
    let mut refusal = Refusal::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results.",
    );
    refusal.continue_with = token.map(|token| Token { version: None, after: token.after.clone() }.encode());
    refusal
}
