//! From catalog files to a [`Catalog`], with a complaint for every mistake.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    ActionId, Catalog, CatalogDocument, Endpoint, EndpointEntry, Kind, KindId, ResourceId,
    matcher::{Builder, SELF_SERVICE, fold},
    template::{Part, Template},
};
use crate::source::{At, Complaints, Source, Span, salvage};

/// The methods an endpoint can have: those of RFC 9110 and the registered ones that APIs use. `HEAD` is `GET`;
/// `CONNECT` and `TRACE` never pass Vicar.
const METHODS: [&str; 21] = [
    "GET",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "QUERY",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "LINK",
    "UNLINK",
    "MKCALENDAR",
    "ACL",
    "VERSION-CONTROL",
];

/// Reads catalog files as one catalog. What is wrong goes to `complaints`; an error means no catalog.
pub fn load(sources: &[Source], complaints: &mut Complaints) -> Option<Catalog> {
    let mut found = Complaints::default();
    let documents: Vec<(&Source, CatalogDocument)> =
        sources.iter().filter_map(|source| salvage(source, &mut found).map(|document| (source, document))).collect();
    let mut loader = Loader::default();
    for (source, document) in &documents {
        loader.version(source, document, &mut found);
        loader.kinds(source, document, &mut found);
    }
    for (source, document) in &documents {
        for entry in &document.endpoints {
            loader.endpoint(source, entry, &mut found);
        }
    }
    loader.unused(&mut found);
    let taken = !found.has_errors() && documents.len() == sources.len();
    complaints.extend(found);
    taken.then(|| loader.finish(sources))
}

#[derive(Default)]
struct Loader<'s> {
    kinds: Vec<Kind>,
    kind_ids: HashMap<Arc<str>, KindId>,
    kind_places: Vec<(&'s Source, Span)>,
    kinds_used: HashSet<KindId>,
    actions: Vec<Arc<str>>,
    action_ids: HashMap<Arc<str>, ActionId>,
    endpoints: Vec<Endpoint>,
    endpoint_places: Vec<(&'s Source, Span)>,
    matcher: Builder,
}

impl<'s> Loader<'s> {
    fn version(&self, source: &Source, document: &CatalogDocument, complaints: &mut Complaints) {
        if document.version.value != 1 {
            complaints
                .error(source, document.version.span, format!("version {} is not known", document.version.value))
                .help("this Vicar reads version 1");
        }
    }

    fn kinds(&mut self, source: &'s Source, document: &CatalogDocument, complaints: &mut Complaints) {
        for (name, entry) in document.kinds.iter() {
            if !is_slug(name) {
                complaints.error(source, name.span, format!("`{}` is no name of a kind", name.value)).help(SLUG_HELP);
            }
            if let Some(other) = self.kind_ids.get(name.as_str()).and_then(|kind| self.kind_places.get(kind.index())) {
                complaints
                    .error(source, name.span, format!("the kind `{}` is already declared at {}", name.value, place(*other)))
                    .help("a kind belongs to one file; endpoints of every file may use it");
                continue;
            }
            let Ok(number) = u16::try_from(self.kinds.len()) else {
                complaints.error(source, name.span, "more than 65536 kinds");
                return;
            };
            let id = KindId(number);
            let text: Arc<str> = name.as_str().into();
            let title = entry.title.as_ref().map_or_else(|| name.value.clone(), |title| title.value.clone());
            self.kinds.push(Kind { id, name: Arc::clone(&text), title });
            self.kind_ids.insert(text, id);
            self.kind_places.push((source, name.span));
        }
    }

    fn endpoint(&mut self, source: &'s Source, entry: &EndpointEntry, complaints: &mut Complaints) {
        let request = request(source, &entry.request, complaints);
        let template = request.as_ref().map(|(_, template)| template);
        let resource = self.resource(source, &entry.resource, template, complaints);
        let action = self.action(source, &entry.action, complaints);
        let query = entry.query.as_ref().map(|names| names.iter().map(|name| name.as_str().into()).collect());
        let content_types = entry.content_types.as_ref().map(|types| media_types(source, types, complaints));
        let (Some((method, template)), Some((kind, id)), Some((action, action_name))) = (request, resource, action) else { return };
        if let Err(other) = self.matcher.insert(method, &template, self.endpoints.len()) {
            if let (Some(endpoint), Some(other)) = (self.endpoints.get(other), self.endpoint_places.get(other)) {
                let message = if endpoint.template == template {
                    format!("`{method} {template}` is already named at {}", place(*other))
                } else {
                    format!("no literal tells `{method} {template}` from `{endpoint}` at {}", place(*other))
                };
                complaints.error(source, entry.request.span, message).help("a request must have one reading: leave one of the two out");
            }
            return;
        }
        self.endpoints.push(Endpoint {
            method,
            template,
            kind,
            kind_name: self.kinds.get(kind.index()).map_or_else(|| "".into(), |kind| Arc::clone(&kind.name)),
            id,
            action,
            action_name,
            query,
            content_types,
            body: entry.body,
            summary: entry.summary.as_deref().map(Into::into),
        });
        self.endpoint_places.push((source, entry.request.span));
    }

    fn resource(
        &mut self,
        source: &Source,
        written: &At<String>,
        template: Option<&Template>,
        complaints: &mut Complaints,
    ) -> Option<(KindId, ResourceId)> {
        let (kind, id) = written.split_once(':').map_or((written.as_str(), None), |(kind, id)| (kind, Some(id)));
        let known = self.kind_ids.get(kind).copied();
        match known {
            Some(kind) => {
                self.kinds_used.insert(kind);
            }
            None => {
                complaints
                    .error(source, word(source, written, kind), format!("no kind is called `{kind}`"))
                    .help(format!("declare it under `kinds:` as `{kind}: {{title: …}}`"))
                    .suggest(kind, self.kinds.iter().map(|kind| &*kind.name));
            }
        }
        let id = match id {
            None => ResourceId::Whole,
            Some(id) => resource_id(source, written, id, template, complaints)?,
        };
        known.map(|kind| (kind, id))
    }

    fn action(&mut self, source: &Source, written: &At<String>, complaints: &mut Complaints) -> Option<(ActionId, Arc<str>)> {
        if !is_slug(written) {
            complaints.error(source, written.span, format!("`{}` is no name of an action", written.value)).help(SLUG_HELP);
            return None;
        }
        if let Some((name, id)) = self.action_ids.get_key_value(written.as_str()) {
            return Some((*id, Arc::clone(name)));
        }
        let Ok(number) = u16::try_from(self.actions.len()) else {
            complaints.error(source, written.span, "more than 65536 actions");
            return None;
        };
        let (id, name): (_, Arc<str>) = (ActionId(number), written.as_str().into());
        self.actions.push(Arc::clone(&name));
        self.action_ids.insert(Arc::clone(&name), id);
        Some((id, name))
    }

    fn unused(&self, complaints: &mut Complaints) {
        for (kind, (source, span)) in self.kinds.iter().zip(&self.kind_places) {
            if !self.kinds_used.contains(&kind.id) {
                complaints.warning(source, *span, format!("no endpoint concerns the kind `{}`", kind.name));
            }
        }
    }

    fn finish(self, sources: &[Source]) -> Catalog {
        let mut hasher = blake3::Hasher::new();
        for source in sources {
            hasher.update(&(source.text.len() as u64).to_le_bytes()).update(source.text.as_bytes());
        }
        let digest = hasher.finalize().to_hex().chars().take(16).collect();
        Catalog {
            kinds: self.kinds,
            kind_ids: self.kind_ids,
            actions: self.actions,
            action_ids: self.action_ids,
            endpoints: self.endpoints,
            matcher: self.matcher.build(),
            digest,
        }
    }
}

const SLUG_HELP: &str = "use a-z, 0-9, _ and -, beginning with a letter";

/// Whether `name` can be a kind or an action.
pub(super) fn is_slug(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

fn request(source: &Source, written: &At<String>, complaints: &mut Complaints) -> Option<(&'static str, Template)> {
    let mut words = written.split_whitespace();
    let (Some(method), Some(path), None) = (words.next(), words.next(), words.next()) else {
        complaints
            .error(source, written.span, format!("`{}` is no request", written.value))
            .help("write METHOD and path, such as `GET /user/{user_id}`");
        return None;
    };
    let known = known_method(source, written, method, complaints);
    let template = match path.parse::<Template>() {
        Ok(template) => template,
        Err(error) => {
            complaints.error(source, word(source, written, path), error.to_string());
            return None;
        }
    };
    if let Some(Part::Literal(first)) = template.parts().first()
        && fold(first) == SELF_SERVICE
    {
        complaints.error(source, word(source, written, path), "what is under /.vicar/ is answered by Vicar itself");
        return None;
    }
    known.map(|method| (method, template))
}

fn known_method(source: &Source, written: &At<String>, method: &str, complaints: &mut Complaints) -> Option<&'static str> {
    if let Some(known) = METHODS.iter().find(|known| **known == method) {
        return Some(known);
    }
    let span = word(source, written, method);
    match method {
        "HEAD" => complaints.error(source, span, "HEAD is what GET is").help("name GET"),
        "CONNECT" | "TRACE" => complaints.error(source, span, format!("{method} never passes Vicar")),
        _ => match METHODS.iter().find(|known| known.eq_ignore_ascii_case(method)) {
            Some(known) => complaints.error(source, span, format!("`{method}` is no method")).help(format!("write {known}")),
            None => complaints.error(source, span, format!("`{method}` is no method")).suggest(method, METHODS),
        },
    };
    None
}

/// Reads what stands behind `kind:`.
fn resource_id(
    source: &Source,
    written: &At<String>,
    id: &str,
    template: Option<&Template>,
    complaints: &mut Complaints,
) -> Option<ResourceId> {
    if !id.contains(['{', '}']) {
        let problem = match id {
            "" => "an id is missing behind the colon",
            "*" => "an endpoint concerns one resource, or its kind as a whole",
            _ if id.chars().any(char::is_control) => "an id cannot hold control characters",
            _ => return Some(ResourceId::Fixed(id.into())),
        };
        complaints.error(source, written.span, problem).help("write `kind:{parameter}`, `kind:id`, or `kind` alone");
        return None;
    }
    let mut places = Vec::new();
    for part in id.split('/') {
        let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
            complaints
                .error(source, word(source, written, part), format!("`{part}` is neither an id nor a placeholder"))
                .help("write `kind:{parameter}`, or `kind:{a}/{b}` where it takes two to name it");
            return None;
        };
        let template = template?;
        let Some(place) = template.place(name) else {
            complaints
                .error(source, word(source, written, name), format!("the path has no placeholder {{{name}}}"))
                .suggest(name, template.parameters());
            return None;
        };
        places.push(place);
    }
    match *places.as_slice() {
        [place] => Some(ResourceId::Segment(place)),
        _ => Some(ResourceId::Segments(places.into())),
    }
}

fn media_types(source: &Source, types: &[At<String>], complaints: &mut Complaints) -> Vec<Box<str>> {
    let token = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let mut read = Vec::with_capacity(types.len());
    for written in types {
        if written.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub)) {
            read.push(written.to_ascii_lowercase().into());
        } else {
            complaints
                .error(source, written.span, format!("`{}` is no media type", written.value))
                .help("write one such as application/json or multipart/form-data, without parameters or wildcards");
        }
    }
    read
}

/// Where `part` stands within `written`, for the caret; the whole when it is written otherwise there.
fn word(source: &Source, written: &At<String>, part: &str) -> Span {
    let text = source.text.get(written.span.start..written.span.end).unwrap_or_default();
    match text.find(part) {
        Some(at) if !part.is_empty() => Span { start: written.span.start + at, end: written.span.start + at + part.len() },
        _ => written.span,
    }
}

/// `file:line` for a message about something else.
fn place((source, span): (&Source, Span)) -> String {
    let line = 1 + source.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count();
    format!("{}:{line}", source.name)
}
