"""A picture beside its recovery and its mirror image's recovery, as HTML; each has its name below it."""

from collections.abc import Mapping

from .markup import html_text, picture_source, wrap_page

ROLES = ("original", "recovered", "mirrored", "partial")  # in the order in which they are looked at


def pictures_html(images: Mapping[str, str], name: str, language: str) -> str:
    """Show the pictures of an answer, and say what they are.

    Args:
        images: addresses by role, paths of this site; a role that is missing is left out.
        name: of the picture, as HTML.
        language: the visitor's language.
    """
    figures = figures_html(images, name, language)
    if not figures:
        return ""
    said = f"<p>{html_text(language, 'pictures.illustrate')}</p>"
    if "mirrored" in images:
        said += f"<p>{html_text(language, 'mirrored.about')}</p>"
    return wrap_page([f"<h3>{html_text(language, 'pictures.title')}</h3>", figures, said], language)


def figures_html(images: Mapping[str, str], name: str, language: str) -> str:
    """Return the figures alone, side by side."""
    items = [
        f'<figure class="cg-{role}"><a href="{source}" download=""><img src="{source}" loading="lazy"'
        f' alt="{html_text(language, role)}: {name}"></a><figcaption>{html_text(language, role)}</figcaption></figure>'
        for role in ROLES
        if (source := picture_source(images.get(role, "")))
    ]
    return f'<div class="cg-figures">{"".join(items)}</div>' if items else ""
