"""Templates: never a hole in a text, nothing but text out of them, bounded, refused with the place."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.rules.liquid.template import Rendered, TemplateError, compile_template

VARIABLES: dict[str, Any] = {
    "customer": {
        "orders": 3,
        "traits": {"first_name": "Ann", "unset": "", "space": "  ", "none": None, "zero": 0, "off": False, "html": "<b>&",
                   "tags": ["a", "b"], "nothing": []},
    },
    "event": {"properties": {"revenue": 29.33, "products": [{"name": "Tea", "price": 1}, {"price": 2}]}},
}  # fmt: skip


def render(source: str) -> Rendered:
    return compile_template(source).render(VARIABLES)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Hello {{ customer.traits.first_name }}!", "Hello Ann!"),
        (
            "{{ customer.traits.zero }} {{ customer.traits.off }} {{ event.properties.revenue | times: 2 }}",
            "0 false 58.66",
        ),
        ("Hello {{ customer.traits.x | default: 'friend' }}", "Hello friend"),
        ("Hello {{ customer.traits.none | default: 'friend' }}", "Hello friend"),
        ("Hello {{ customer.traits.unset | upcase | default: 'friend' }}", "Hello friend"),
        ("Hello {{ nobody.knows.this | default: customer.traits.first_name }}", "Hello Ann"),
        ("{{ customer.traits.x | default: '' }}|", "|"),
        ("{% if customer.traits.x %}a{% else %}b{% endif %}", "b"),
        ("{% if customer.traits.unset %}a{% else %}b{% endif %}", "b"),
        ("{% if customer.traits.none %}a{% elsif customer.traits.x == 'y' %}c{% else %}b{% endif %}", "b"),
        (
            "{% if customer.traits.x == blank and customer.traits.space == '' and customer.traits.none == nil %}a{% endif %}",
            "a",
        ),
        (
            "{% if customer.traits.x != empty or customer.traits.x > 3 or customer.traits.x contains 'y' %}a{% else %}b{% endif %}",
            "b",
        ),
        ("{% unless customer.traits.x %}a{% endunless %}", "a"),
        ("{% case customer.traits.x %}{% when 'y' %}a{% else %}b{% endcase %}", "b"),
        ("{% if customer.traits.first_name == 'Ann' and customer.orders > 2 %}a{% endif %}", "a"),
        (
            "{% for p in event.properties.products %}{{ p.name | default: '?' }} {{ forloop.index }};{% endfor %}",
            "Tea 1;? 2;",
        ),
        ("{% if event.properties.x %}{% for p in event.properties.x %}{{ p }}{% endfor %}{% endif %}-", "-"),
        ("{% assign n = customer.traits.x | default: 'you' %}{{ n }}", "you"),
        (
            "{% assign s = '' %}{% for t in customer.traits.tags %}{% assign s = s | append: t %}{% endfor %}{{ s }}",
            "ab",
        ),
        ("{{ customer.traits.tags | join: ', ' }} {{ event.properties.products[0].name }}", "a, b Tea"),
        ("{{ customer['traits'].first_name }}{% comment %}{{ customer.traits.x }}{% endcomment %}", "Ann"),
        ("{{ customer.traits.html }}", "<b>&"),
    ],
)
def test_renders(source: str, text: str) -> None:
    assert render(source) == Rendered(text)


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("Hello {{ customer.traits.x }},", "customer.traits.x"),
        ("Hello {{ customer.traits.unset }},", "customer.traits.unset"),
        ("Hello {{ customer.traits.space }},", "customer.traits.space"),
        ("Hello {{ customer.traits.none }},", "customer.traits.none"),
        ("Hello {{ customer.traits.x | upcase }},", "customer.traits.x"),
        ("Hello {{ customer.traits.x | append: '!' }}", "customer.traits.x"),
        ("{{ 'Hello ' | append: customer.traits.x }}", "customer.traits.x"),
        ("{{ customer.traits.x | plus: 1 }}", "customer.traits.x"),
        ("{{ customer.traits.x | size }}", "customer.traits.x"),
        ("{{ customer.traits.x | date: '%Y' }}", "customer.traits.x"),
        ("{{ customer.traits.x | default: customer.traits.none }}", "customer.traits.none"),
        ("{{ customer.traits.x.deeper.still }}", "customer.traits.x.deeper.still"),
        ("{{ customer.traits.nothing | first }}", "customer.traits.nothing"),
        ("{{ event.properties.products[1].name }}", "event.properties.products[1].name"),
        ("{{ event.properties.products[7].name }}", "event.properties.products[7].name"),
        ("{% for p in event.properties.products %}{{ p.name }}{% endfor %}", "p.name"),
        ("{% for p in event.properties.x %}{{ p.name }}{% endfor %}", "event.properties.x"),
        ("{% assign n = customer.traits.x %}Hello {{ n }}", "customer.traits.x"),
        ("{% capture c %}Hello {{ customer.traits.x }}{% endcapture %}{{ c }}", "customer.traits.x"),
        ("{% echo customer.traits.x %}", "customer.traits.x"),
        ("{% if customer.orders > 2 %}{{ customer.traits.x }}{% endif %}", "customer.traits.x"),
    ],
)
def test_a_missing_value_withholds_the_text(source: str, missing: str) -> None:
    assert render(source) == Rendered(None, missing=missing)


values = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text() | st.lists(st.text(), max_size=3)


@given(value=values)
def test_a_text_is_whole_or_withheld(value: Any) -> None:
    variables = {"customer": {"name": value}}
    plain = compile_template("Hello {{ customer.name }}!").render(variables)
    guarded = compile_template("Hello{% if customer.name %} {{ customer.name }}{% endif %}!").render(variables)
    defaulted = compile_template("Hello {{ customer.name | default: 'friend' }}!").render(variables)
    if isinstance(value, str) and value.strip():
        lines = value.replace("\r\n", "\n").replace("\r", "\n")  # every line end is written as \n
        assert plain == defaulted == guarded == Rendered(f"Hello {lines}!")
    if value is None or (isinstance(value, str) and not value.strip()):
        assert plain == Rendered(None, missing="customer.name")
        assert guarded == Rendered("Hello!")
        assert defaulted == Rendered("Hello friend!")


def test_html_is_escaped_on_request_only() -> None:
    source = "<p>{{ customer.traits.html }}{{ customer.traits.first_name | append: '<' }}</p>"
    assert compile_template(source).render(VARIABLES).text == "<p><b>&Ann<</p>"
    assert compile_template(source, escape_html=True).render(VARIABLES).text == "<p>&lt;b&gt;&amp;Ann<</p>"
    assert (
        compile_template("{{ customer.traits.x }}", escape_html=True).render(VARIABLES).missing == "customer.traits.x"
    )


def test_variables_used() -> None:
    template = compile_template(
        "{{ customer.traits.first_name }}{% assign a = event.properties.x %}{{ a }}{% if event['name'] == 'A' %}{% endif %}"
        "{% for p in event.properties.products %}{{ p.name | append: customer.city }}{% endfor %}{{ event.properties.l[0].z }}"
    )
    assert template.variables == {
        "customer.traits.first_name", "event.properties.x", "event.name", "event.properties.products", "customer.city",
        "event.properties.l",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "line", "column", "says"),
    [
        ("Hello {{ customer.name", 1, 7, "expected '}}'"),
        ("Hello\n{{ customer.name | upcas }}", 2, 20, "did you mean upcase?"),
        ("Hello\n {% if a == %}{% endif %}", 2, 13, "primitive"),
        ("{{ a b }}", 1, 6, "found word"),
        ("{{ a | }}", 1, 4, "expected word"),
        ("{% if a %}\nx", 2, 2, "endif"),
        ("{% nope %}", 1, 4, "nope"),
        ("{% include 'secret' %}", 1, 4, "include"),
        ("{% render 'secret' %}", 1, 4, "render"),
        ("{{ customer.name | safe }}", 1, 20, "unknown filter safe"),
        ("{{ now }}", 1, 4, "no clock"),
        ("{% for i in (1..100000) %}{% endfor %}", 1, 13, "range"),
        ("{% for i in (1..event.n) reversed %}{% endfor %}", 1, 13, "range"),
        ("{% if a %}" * 20 + "{% endif %}" * 20, 1, 164, "nesting limit"),
        ("x" * 20_000, 1, None, "16,384 characters"),
    ],
)
def test_refused_at_save_with_the_place(source: str, line: int, column: int | None, says: str) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template(source)
    assert says in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.status == 422


LOOP = "{% for i in (1..1000) %}"
HOSTILE = [
    LOOP + LOOP + "x{% endfor %}{% endfor %}",
    LOOP + "y" * 100 + "{% endfor %}",
    "{{ 'aaaaaaaaaa'" + " | replace: 'a', 'aaaaaaaaaa'" * 12 + " }}",
    "{{ 'aaaaaaaa'" + " | base64_encode" * 300 + " }}",
    "{% assign a = 'x' %}" + LOOP + "{% assign a = a | append: a %}{% endfor %}{{ a }}",
    "{% assign a = 9 %}" + LOOP + "{% assign a = a | times: a %}{% endfor %}{{ a }}",
    "{% assign a = 'a,b' | split: ',' %}" + LOOP + "{% assign a = a | concat: a %}{% endfor %}{{ a | uniq | join }}",
    "{% assign a = 'x' %}" + LOOP + "{% assign b = a" + " | upcase" * 100 + " %}{% endfor %}{{ b }}",
    "{{ 1 | divided_by: 0 }}",
    "{{ customer.traits.first_name | truncate: 'many' }}",
    "{% if customer.traits.first_name > 3 %}x{% endif %}",
    "{{ customer.traits }}",
    "{{ 'now' | date: '%Y' }}",
]


@pytest.mark.timeout(20)  # far above what a bounded rendering takes, far below what an unbounded one would
@pytest.mark.parametrize("source", HOSTILE)
def test_what_fails_or_never_ends_gives_no_text_but_a_reason(source: str) -> None:
    template = compile_template(source)
    rendered = template.render(VARIABLES)
    assert rendered.text is None
    assert rendered.missing is None
    assert rendered.error


@given(source=st.text(alphabet="{}%| ifendforax.='\"[]()1,:", max_size=60))
def test_any_text_renders_or_is_refused(source: str) -> None:
    try:
        template = compile_template(source)
    except TemplateError as error:
        refusal = error
    else:
        template.render(VARIABLES)
        return
    assert 1 <= refusal.line <= source.count("\n") + 1
