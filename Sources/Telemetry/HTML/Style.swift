/// The page's style sheet: system fonts, one column on a phone, colours for light and dark that are told apart by
/// lightness too.
enum Style {
  static let sheet: HTML = """
    :root{color-scheme:light dark;--paper:#fbfbf9;--card:#fff;--ink:#1d2327;--dim:#5b666e;--line:#dfe3e6;--good:#2f7f96;
    --bad:#c2371f;--warn:#c58a00;--range:#a9b8c0;--calm:#2b7a4b}
    @media(prefers-color-scheme:dark){:root{--paper:#14181b;--card:#1c2226;--ink:#e8ecee;--dim:#9aa7af;--line:#303a40;
    --good:#5fb3c9;--bad:#ff7a5c;--warn:#e6b450;--range:#51616a;--calm:#6cc792}}
    *{box-sizing:border-box}
    body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.45 system-ui,sans-serif;overflow-wrap:anywhere}
    main{max-width:72rem;margin:0 auto;padding:1rem}
    h1{font-size:1.4rem;margin:.2rem 0}h2{font-size:1.05rem;margin:0 0 .6rem}
    p{margin:.2rem 0}.dim,small{color:var(--dim)}small{font-size:.8rem}
    section{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.9rem;margin:.8rem 0}
    .tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.6rem;margin:.8rem 0}
    .tile{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.6rem .9rem}
    .tile b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}
    .pair{display:grid;grid-template-columns:1fr;gap:.8rem;margin:.8rem 0;align-items:start}.pair>section{margin:0}
    @media(min-width:48rem){.pair{grid-template-columns:1fr 1fr}}
    .columns{display:block;width:100%;height:9rem}
    .scale{display:flex;justify-content:space-between;font-size:.8rem;color:var(--dim)}
    .row{display:grid;grid-template-columns:32% 1fr 30%;gap:.2rem .6rem;align-items:center;
    padding:.25rem 0;border-top:1px solid var(--line)}.row:first-of-type{border-top:0}
    .row .wide{grid-column:1/-1}.row .isbad{white-space:nowrap}
    .bar{display:block;width:100%;height:.8rem}
    .number{font-variant-numeric:tabular-nums;text-align:right}
    .item{padding:.4rem 0;border-top:1px solid var(--line)}.item:first-of-type{border-top:0}
    .tag{display:inline-block;border:1px solid currentColor;border-radius:.3rem;padding:0 .35rem;font-size:.8rem}
    .isbad{color:var(--bad)}.iswarn{color:var(--warn)}.isgood{color:var(--calm)}
    .good{fill:var(--good)}.bad{fill:var(--bad)}.warn{fill:var(--warn)}.range{fill:var(--range)}.mark{fill:var(--ink)}
    .axis{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke}
    code{font:.8rem ui-monospace,monospace}
    @media print{section,.tile{break-inside:avoid}}
    """
}
