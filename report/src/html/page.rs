//! The document: head, style, sections, tables. What every page is made of.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::palette;

/// Nothing is loaded from anywhere, not even from here.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
const STYLE: &str = include_str!("style.css");

/// A part of a page, under a heading of its own.
pub(super) struct Section {
    /// Of its element: what the list of contents leads to.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) body: Markup,
}

/// A whole page. `head` stands above its list of contents.
pub(super) fn document(title: &str, head: &Markup, sections: &[Section]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Without one, a browser asks the server that has the page.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(palette::style())) }
            }
            body {
                header { (head) }
                nav aria-label="Contents" {
                    ul { @for section in sections { li { a href={ "#" (section.id) } { (section.title) } } } }
                }
                main {
                    @for section in sections {
                        section id=(section.id) aria-labelledby={ (section.id) "-head" } {
                            h2 id={ (section.id) "-head" } { (section.title) }
                            (section.body)
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

/// A column of a table, by what its cells are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    Text(&'static str),
    Number(&'static str),
}

impl Column {
    fn head(self) -> &'static str {
        let (Column::Text(head) | Column::Number(head)) = self;
        head
    }

    fn class(self) -> Option<&'static str> {
        matches!(self, Column::Number(_)).then_some("number")
    }
}

/// A table; the first cell of a row is what the row is about. Without rows there is none.
pub(super) fn table(caption: &str, columns: &[Column], rows: &[Vec<String>]) -> Markup {
    if rows.is_empty() {
        return html! {};
    }
    html! {
        div.wide role="region" aria-label=(caption) tabindex="0" {
            table {
                caption { (caption) }
                thead { tr { @for column in columns { th scope="col" class=[column.class()] { (column.head()) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (at, (column, cell)) in columns.iter().zip(row).enumerate() {
                                @if at == 0 {
                                    th scope="row" class=[column.class()] { (cell) }
                                } @else {
                                    td class=[column.class()] { (cell) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Names and what they stand for. What is empty is left out.
pub(super) fn facts(facts: &[(&str, String)]) -> Markup {
    html! {
        dl.facts {
            @for (name, what) in facts.iter().filter(|(_, what)| !what.is_empty()) { div { dt { (name) } dd { (what) } } }
        }
    }
}

/// The figures that count, large: each with its name and a word about it.
pub(super) fn figures(figures: &[(&str, String, String)]) -> Markup {
    html! {
        dl.figures {
            @for (name, figure, about) in figures {
                div { dt { (name) } dd { strong { (figure) } @if !about.is_empty() { span { (about) } } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chart;
    use super::*;

    #[test]
    fn a_document_loads_nothing_and_escapes_everything() {
        let body = table(
            "<caption>",
            &[Column::Text("a&b"), Column::Number("n")],
            &[vec!["<x>".into(), "\"1\"".into()]],
        );
        let section = Section { id: "one", title: "One & only", body };
        let page = document("<title>", &html! { h1 { "<h1>" } }, &[section]);
        assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{page}");
        for part in [
            "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:;",
            "<title>&lt;title&gt;</title>",
            "<h1>&lt;h1&gt;</h1>",
            "<a href=\"#one\">One &amp; only</a>",
            "<caption>&lt;caption&gt;</caption>",
            "<th scope=\"row\">&lt;x&gt;</th><td class=\"number\">&quot;1&quot;</td>",
            "a&amp;b",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        for part in ["://", "<script", "src=", "@import", "url("] {
            assert!(!page.contains(part), "{part}");
        }
    }

    #[test]
    fn the_style_makes_texts_as_large_on_a_phone_as_charts_have_room_for() {
        let size = chart::PHONE_TEXT * f64::from(chart::UNIT);
        assert!(STYLE.contains(&format!(".drawn text{{font-size:{size}px}}")));
    }

    #[test]
    fn what_is_empty_is_not_there() {
        assert_eq!(table("none", &[Column::Text("a")], &[]).into_string(), "");
        let facts = facts(&[("a", "b".into()), ("c", String::new())]).into_string();
        assert_eq!(facts, "<dl class=\"facts\"><div><dt>a</dt><dd>b</dd></div></dl>");
    }
}
