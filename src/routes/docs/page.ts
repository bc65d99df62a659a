/** HTML pages. Text is escaped here and nowhere else. They have no scripts and no external styles. */

const STYLE = `
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1e; background: #fff }
h2 { margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem } code, pre { font: 14px/1.45 ui-monospace, monospace }
pre { background: #f4f4f5; padding: 0.75rem; overflow: auto } .method { display: inline-block; min-width: 4.5rem; font-weight: 700 }
table { border-collapse: collapse } td, th { text-align: left; padding: 0.2rem 1rem 0.2rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #18181b } pre { background: #27272a } h2 { border-color: #444 } a { color: #8ab4f8 } }`;

/** Forbids everything that a page does not need. */
const POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Markup that is safe to send. */
export type Markup = { markup: string };

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escaped = (text: string): string => text.replaceAll(/[&<>"']/g, (char) => ENTITIES[char] ?? char);

/** Markup from a template. Values are escaped, except for markup. */
export function html(strings: TemplateStringsArray, ...values: (string | number | Markup | Markup[])[]): Markup {
  const rendered = values.map((value) =>
    Array.isArray(value)
      ? value.map(({ markup }) => markup).join('\n')
      : typeof value === 'object'
        ? value.markup
        : escaped(String(value)),
  );
  return { markup: strings.map((text, at) => text + (rendered[at] ?? '')).join('') };
}

/** A whole page as a response. */
export function page(title: string, body: Markup, status = 200): Response {
  const document = html`<!doctype html>
    <html lang="en">
      <meta charset="utf-8" />
      <meta name="viewport" content="width=device-width" />
      <title>${title}</title>
      <style>
        ${{ markup: STYLE }}
      </style>
      ${body}
    </html>`;
  return new Response(document.markup, {
    status,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': POLICY,
      'x-content-type-options': 'nosniff',
      'cache-control': 'public, max-age=300',
    },
  });
}
