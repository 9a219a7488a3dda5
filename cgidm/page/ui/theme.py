"""What the page looks like: a theme that asks no other host for anything, and the style of `answer` and `drawings`.

Every pair of text and ground in `LIGHT` and `DARK` is readable (WCAG 2.2 AA: a contrast of 4.5).
"""

import gradio as gr

FONTS = (
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "Roboto",
    "Helvetica Neue",
    "Hiragino Sans",
    "Noto Sans",
    "sans-serif",
)
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
LIGHT = {
    "ground": "#ffffff",
    "ink": "#1e293b",
    "quiet": "#475569",
    "line": "#cbd5e1",
    "consistent-ground": "#eef2ff",
    "consistent": "#4338ca",
    "none-ground": "#f1f5f9",
    "none": "#334155",
    "weak-ground": "#fffbeb",
    "weak": "#92400e",
    "unclear-ground": "#ecfeff",
    "unclear": "#155e75",
    "dot": "#64748b",
}
DARK = {
    "ground": "#0f172a",
    "ink": "#e2e8f0",
    "quiet": "#a8b5c8",
    "line": "#3b4a60",
    "consistent-ground": "#1e1b4b",
    "consistent": "#a5b4fc",
    "none-ground": "#1e293b",
    "none": "#cbd5e1",
    "weak-ground": "#2b1d06",
    "weak": "#fcd34d",
    "unclear-ground": "#083344",
    "unclear": "#a5f3fc",
    "dot": "#8fa1b9",
}


def theme() -> gr.themes.Base:
    """Indigo on slate, in the fonts of the reader's own system."""
    calm = gr.themes.Base(
        primary_hue="indigo",
        secondary_hue="slate",
        neutral_hue="slate",
        radius_size="md",
        font=FONTS,
        font_mono=MONO,
    )
    return calm.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_800",
        body_text_color_dark="*neutral_200",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_700",
        block_label_background_fill="*neutral_100",
        block_label_background_fill_dark="*neutral_800",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="600",
        block_shadow="0 1px 2px 0 rgb(15 23 42 / 0.05)",
        block_shadow_dark="none",
        input_background_fill="white",
        input_background_fill_dark="*neutral_800",
        input_border_width="1px",
        input_border_color="#8593a8",
        input_border_color_dark="*neutral_600",
        input_border_color_focus="*primary_600",
        input_border_color_focus_dark="*primary_400",
        border_color_accent="*primary_600",
        border_color_accent_dark="*primary_400",
        color_accent="*primary_600",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="*neutral_800",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        link_text_color_visited="*primary_800",
        link_text_color_visited_dark="*primary_200",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_secondary_background_fill="white",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_600",
        button_secondary_text_color="*neutral_800",
        button_secondary_text_color_dark="*neutral_100",
        button_border_width="1px",
        checkbox_border_color="#8593a8",
        checkbox_border_color_dark="*neutral_500",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
    )


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--cg-{name}:{value};" for name, value in colours.items())


CSS = (
    f".cg{{{_variables(LIGHT)}}}.dark .cg{{{_variables(DARK)}}}"
    + """
.cg.cg{color:var(--cg-ink);font-size:1rem;line-height:1.55;max-width:100%}
.cg.cg *{color:inherit}
.cg.cg p{margin:.5em 0}
.cg.cg h3{font-size:1.05rem;font-weight:600;margin:1.75em 0 .5em}
.cg.cg small{color:var(--cg-quiet);font-size:.875em}
.cg.cg code{font-family:var(--font-mono);font-size:.85em;background:none;border:0;padding:0;overflow-wrap:anywhere;
 color:var(--cg-quiet)}
.cg.cg ul{margin:.5em 0;padding-inline-start:1.25em;list-style:disc}
.cg.cg li{margin:.3em 0}
.cg.cg .cg-card{border:1px solid;border-inline-start-width:6px;border-radius:10px;padding:1rem 1.25rem}
.cg.cg .cg-card p{color:var(--cg-ink);margin:.5em 0 0}
.cg.cg .cg-card p~p{font-size:.925em}
.cg.cg .cg-card .cg-outcome{font-weight:600;font-size:1.35rem;line-height:1.3;margin:0;color:inherit;
 display:flex;gap:.5em;
 align-items:baseline}
.cg.cg .cg-glyph{font-family:var(--font-mono);font-weight:700}
.cg.cg .cg-consistent{color:var(--cg-consistent);background:var(--cg-consistent-ground);
 border-color:var(--cg-consistent)}
.cg.cg .cg-none,.cg.cg .cg-stopped{color:var(--cg-none);background:var(--cg-none-ground);border-color:var(--cg-none)}
.cg.cg .cg-weak{color:var(--cg-weak);background:var(--cg-weak-ground);border-color:var(--cg-weak)}
.cg.cg .cg-unclear{color:var(--cg-unclear);background:var(--cg-unclear-ground);border-color:var(--cg-unclear)}
.cg.cg .cg-tag{display:inline-block;border:1px solid;border-radius:6px;padding:0 .45em;font-size:.875em}
.cg.cg .cg-flags{border:1px solid var(--cg-weak);border-radius:10px;padding:.75rem 1.25rem;margin:1rem 0;
 background:var(--cg-weak-ground)}
.cg.cg .cg-flags h3{margin:0;color:var(--cg-weak)}
.cg.cg .cg-checked{max-width:128px;max-height:128px;image-rendering:pixelated}
.cg.cg .cg-grades{list-style:none;padding:0}
.cg.cg .cg-report{width:100%;height:70vh;border:1px solid var(--cg-line);background:#fff}
.cg.cg .cg-caveat{border-top:1px solid var(--cg-line);margin-top:1.75em}
.cg.cg .cg-caveat h3{margin-top:1em}
.cg.cg .cg-figure{margin:0 0 .5em;max-width:560px}
.cg.cg figcaption{color:var(--cg-quiet);font-size:.875rem;margin-top:.25em}
.cg.cg .cg-svg{display:block;width:100%;height:auto}
.cg.cg .cg-svg text{font-family:var(--font);font-size:11px;fill:var(--cg-quiet)}
.cg.cg .cg-svg .cg-mark-label{fill:var(--cg-consistent);font-weight:700;font-size:12px}
.cg.cg .cg-svg .cg-mark{stroke:var(--cg-consistent);stroke-width:2}
.cg.cg .cg-svg .cg-mark-head{fill:var(--cg-consistent)}
.cg.cg .cg-svg .cg-dot{fill:var(--cg-dot);fill-opacity:.85}
.cg.cg .cg-svg .cg-axis{stroke:var(--cg-dot);stroke-width:1}
.cg.cg .cg-svg .cg-zero{stroke:var(--cg-quiet);stroke-width:1;stroke-dasharray:4 3}
.cg.cg .cg-svg .cg-raw{stroke:var(--cg-dot);stroke-width:1;stroke-opacity:.55}
.cg.cg .cg-svg .cg-average{stroke:var(--cg-consistent);stroke-width:2;stroke-linejoin:round}
.cg.cg .cg-scroll{overflow-x:auto;border:1px solid var(--cg-line);border-radius:8px}
.cg.cg table{border:0;border-collapse:collapse;width:100%;margin:0;font-size:.925rem}
.cg.cg tr{background:none;border:0}
.cg.cg th,.cg.cg td{border:0;border-bottom:1px solid var(--cg-line);padding:.55rem .8rem;text-align:start;
 vertical-align:top}
.cg.cg tbody tr:last-child td{border-bottom:0}
.cg.cg th{font-weight:600;color:var(--cg-quiet);white-space:nowrap}
.cg.cg td code{overflow-wrap:normal;white-space:nowrap}
.cg.cg td small{overflow-wrap:anywhere}
.cg.cg .cg-number{text-align:end;font-variant-numeric:tabular-nums;white-space:nowrap}
.cg.cg .cg-fits .cg-number{text-align:start;white-space:normal}
.cg.cg .cg-about{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center;margin:.6em 0 0}
.cg.cg .cg-about dl{flex:1 1 14rem;margin:0;grid-template-columns:max-content minmax(0,1fr);gap:.1em .75em}
.cg.cg .cg-about dt,.cg.cg .cg-about dd{margin:0;color:var(--cg-ink);font-size:.875rem}
.cg.cg .cg-about dt{color:var(--cg-quiet)}
.cg.cg .cg-thumbnail{width:72px;height:72px;object-fit:cover;border-radius:6px;margin:0;max-width:none}
.cg.cg .cg-figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(120px,1fr));gap:.5rem}
.cg.cg figure{margin:0}
.cg.cg .cg-figures img,.cg.cg .cg-item>img{width:100%;height:auto;max-height:260px;object-fit:contain;margin:0;
 border-radius:4px;background:var(--cg-ground)}
.cg.cg .cg-gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:.75rem}
.cg.cg .cg-item{display:flex;flex-direction:column;gap:.3rem;border:1px solid var(--cg-line);border-radius:8px;
 padding:.5rem;min-width:0}
.cg.cg .cg-item .cg-name{overflow-wrap:anywhere;font-size:.875rem}
.cg.cg .cg-item summary,.cg.cg .cg-details summary{min-height:44px;display:flex;align-items:center;font-size:.925rem}
.cg.cg .cg-item .cg-figures{grid-template-columns:1fr}
.cg.cg .cg-seen,.cg.cg .cg-found{list-style:none;padding:0;margin:.5em 0;display:grid;gap:.5rem;
 grid-template-columns:repeat(auto-fill,minmax(104px,1fr))}
.cg.cg .cg-seen li{margin:0;display:flex;flex-direction:column;min-width:0;font-size:.8125rem;overflow-wrap:anywhere}
.cg.cg .cg-seen img{width:100%;height:104px;object-fit:contain;background:var(--cg-none-ground);border-radius:4px;
 margin:0}
.cg.cg .cg-seen .cg-refused{grid-column:1/-1;border-inline-start:4px solid var(--cg-weak);padding-inline-start:.6em}
.cg.cg .cg-found{grid-template-columns:1fr}
.cg.cg .cg-found li{margin:0}
.cg.cg .cg-found button{display:flex;gap:.75rem;align-items:center;width:100%;min-height:56px;text-align:start;
 border:1px solid var(--cg-line);border-radius:8px;padding:.35rem .5rem;background:var(--cg-ground)}
.cg.cg .cg-found button:hover{border-color:var(--cg-consistent)}
.cg.cg .cg-found :is(img,.cg-blank){flex:none;width:48px;height:48px;object-fit:cover;border-radius:4px;margin:0;
 background:var(--cg-none-ground)}
.cg.cg .cg-found button>span:last-child{display:flex;flex-direction:column;min-width:0;overflow-wrap:anywhere}
.cg.cg .cg-model,.cg.cg .cg-error,.cg.cg .cg-stale{border:1px solid var(--cg-line);border-radius:10px;
 padding:.6rem .9rem;margin:.25rem 0;background:var(--cg-ground)}
.cg.cg .cg-error{border-color:var(--cg-weak);border-inline-start-width:6px;background:var(--cg-weak-ground);
 color:var(--cg-weak)}
.cg.cg .cg-stale{border-style:dashed;border-width:2px;border-color:var(--cg-weak);color:var(--cg-weak);
 background:var(--cg-weak-ground)}
.cg.cg .cg-model-name{font-size:1.05rem;margin:0;overflow-wrap:anywhere}
.cg.cg .cg-model li{font-size:.925rem}
.cg.cg .cg-model pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.8rem;margin:.5em 0}
.cg.cg .cg-count{color:var(--cg-quiet);font-size:.925rem}
.cg.cg .cg-count p{margin:.2em 0}
.cg.cg a{color:var(--cg-consistent);text-decoration:underline}
#answer-part{min-height:85vh}
#answer-part:has(.cg-stale) :is(#answer,#shown,#why){filter:grayscale(1)}
#answer-part:has(.cg-stale) #answer .cg-card{border-style:dashed}
.cg.cg .cg-panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr));gap:1rem}
.cg.cg .cg-panel{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:.25rem .5rem;margin:0;padding:.75rem;
 border:1px solid var(--cg-line);border-radius:8px}
.cg.cg .cg-panel h3{grid-column:1/-1;margin:0}
.cg.cg .cg-panel figure{margin:0}
.cg.cg .cg-panel img{width:100%;height:auto;margin:0;border-radius:4px}
.cg.cg .cg-details{border-top:1px solid var(--cg-line);margin-top:1.25em;padding-top:.75em}
.cg.cg summary{cursor:pointer;font-weight:600}
.cg.cg summary::before{content:"\\25B8";margin-inline-end:.5em}
.cg.cg details[open]>summary::before{content:"\\25BE"}
.cg.cg summary::marker{content:""}
.cg.cg dl{display:grid;grid-template-columns:minmax(9em,max-content) minmax(0,1fr);gap:.35em 1em;margin:.75em 0}
.cg.cg dt{color:var(--cg-quiet);font-size:.925em}
.cg.cg dd{margin:0;overflow-wrap:anywhere;font-size:.925em}
.cg.cg .cg-status{font-variant-numeric:tabular-nums;font-weight:600}
.cg.cg .cg-power{border-inline-start:4px solid var(--cg-consistent);padding-inline-start:.75em}
.cg.cg .cg-cost{color:var(--cg-quiet);font-size:.925rem;margin:0}
.cg.cg progress{appearance:none;width:100%;height:10px;border:0;border-radius:5px;overflow:hidden;
 background:var(--cg-line);color:var(--cg-consistent)}
.cg.cg progress::-webkit-progress-bar{background:var(--cg-line)}
.cg.cg progress::-webkit-progress-value{background:var(--cg-consistent)}
.cg.cg progress::-moz-progress-bar{background:var(--cg-consistent)}
.gradio-container .info,.gradio-container .info *{color:var(--body-text-color-subdued);font-size:.925rem}
.gradio-container h2{font-size:1.15rem;margin:.5rem 0 0}
.gradio-container button:not([role=tab],.icon-button,[role=combobox]),.gradio-container input:not([type=checkbox],
 [type=radio],[type=file]){min-height:44px;min-width:44px}
.gradio-container [role=tab]{min-height:44px}
.gradio-container .label-wrap{align-items:center}
.gradio-container .gr-accordion{overflow:visible!important}
.gradio-container .block:has(>.html-container>.prose:empty){display:none}
.gradio-container .icon-button:has(input[type=file]){display:none!important}
.gradio-container .icon-button-wrapper .icon-button{min-width:44px;min-height:44px;justify-content:center}
footer .divider:last-child{display:none!important}
.gradio-container label:has(>input[type=radio]),.gradio-container label:has(>input[type=checkbox]){min-height:44px}
.gradio-container #unused .wrap{flex-direction:column}
.gradio-container .html-container{padding-inline:0}
#cards button{justify-content:flex-start;flex-wrap:nowrap;gap:.6rem;padding:.5rem;text-align:start}
#cards button img{flex:none;width:56px;height:56px;object-fit:contain;background:white;border-radius:4px}
.gradio-container :is(a,button,input,textarea,select,summary,[tabindex]):focus-visible{
 outline:3px solid var(--color-accent)!important;outline-offset:2px}
.dark .gradio-container :is(a,button,input,textarea,select,summary,[tabindex]):focus-visible{
 outline-color:var(--primary-300)!important}
.gradio-container [role=combobox]:focus-visible{outline:none!important}
.gradio-container .wrap:has(>.wrap-inner [role=combobox]:focus-visible){
 outline:3px solid var(--color-accent);outline-offset:2px}
.dark .gradio-container .wrap:has(>.wrap-inner [role=combobox]:focus-visible){outline-color:var(--primary-300)}
.dark .gradio-container [role=tab][aria-selected=true]{color:var(--primary-300)}
@media (max-width:640px){
 #cards{gap:.5rem}
 #cards button{flex-basis:100%;padding:.25rem .5rem}
 #cards button img{width:40px;height:40px}
 .tab-wrapper{height:auto!important}
 [role=tablist]{flex-wrap:wrap!important;height:auto!important}
 [role=tab]{flex:none!important;padding-inline:.6rem}
 .cg.cg .cg-card{padding:.85rem 1rem}
 .cg.cg .cg-card .cg-outcome{font-weight:600;font-size:1.2rem}
 .cg.cg .cg-svg text{font-size:16px}
 .cg.cg .cg-svg .cg-mark-label{font-size:16px}
 .cg.cg th,.cg.cg td{padding:.5rem .6rem}
 .cg.cg dl{grid-template-columns:minmax(0,1fr);gap:0}
 .cg.cg dd{margin-bottom:.6em}
 .cg.cg thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
 .cg.cg tbody tr{display:grid;border-bottom:1px solid var(--cg-line)}
 .cg.cg tbody tr:last-child{border-bottom:0}
 .cg.cg tbody td{border:0}
 .cg.cg .cg-scores tr{grid-template-columns:1fr auto}
 .cg.cg .cg-scores td:last-child{grid-column:1/-1;padding-top:0;color:var(--cg-quiet)}
 .cg.cg :is(.cg-set,.cg-fits) tr{grid-template-columns:minmax(0,1fr);padding:.5rem}
 .cg.cg :is(.cg-set,.cg-fits) td{padding:0 0 .2rem;text-align:start;overflow-wrap:anywhere}
 .cg.cg .cg-number[data-head]::before{content:attr(data-head) ": ";color:var(--cg-quiet)}
 .cg.cg .cg-scores .cg-number::before{content:none}
}
@media (prefers-reduced-motion:reduce){
 .gradio-container *,.gradio-container *::before,.gradio-container *::after{animation-duration:.01ms!important;
 animation-iteration-count:1!important;transition-duration:.01ms!important;scroll-behavior:auto!important}
}
"""
)
