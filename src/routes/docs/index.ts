import { Hono } from 'hono';
import { z } from 'zod';
import type { AppEnv } from '../http/app-env.ts';
import { ERROR_CODES, errorOf } from '../../contract/errors.ts';
import { problem } from '../http/problem.ts';
import { limitOpenRoute } from '../http/edge-rate-limit.ts';
import { html, page, type Markup } from './page.ts';

const media = z.object({ schema: z.unknown(), example: z.unknown().optional() });

/** The parts of the document that the pages show. It is parsed, because it has gone through JSON. */
const operation = z.object({
  operationId: z.string(),
  summary: z.string().default(''),
  parameters: z
    .array(z.object({ name: z.string(), in: z.string(), required: z.boolean().default(false), schema: z.unknown() }))
    .default([]),
  deprecated: z.boolean().default(false),
  security: z.array(z.record(z.string(), z.array(z.string()))).default([]),
  requestBody: z.object({ content: z.record(z.string(), media) }).optional(),
  responses: z.record(
    z.string(),
    z.object({ description: z.string(), content: z.record(z.string(), media).default({}) }),
  ),
});
type Operation = z.infer<typeof operation>;
const document = z.object({ paths: z.record(z.string(), z.record(z.string(), z.unknown())) });

/**
 * The public documents, which need no key: the OpenAPI document, the same as a page, and a page for each error code.
 * @param documentOf makes the document for a public URL
 */
export function docsRoutes(documentOf: (publicUrl: string) => unknown): Hono<AppEnv> {
  const routes = new Hono<AppEnv>();

  for (const path of ['/openapi.json', '/docs', '/problems', '/problems/:code']) {
    routes.use(path, limitOpenRoute);
  }

  routes.get('/openapi.json', (c) => c.json(documentOf(c.var.context.config.publicUrl)));

  routes.get('/docs', (c) => {
    const { publicUrl } = c.var.context.config;
    const { paths } = document.parse(JSON.parse(JSON.stringify(documentOf(publicUrl))));
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).flatMap(([method, described]) => {
        const parsed = operation.safeParse(described);
        return parsed.success ? [{ method: method.toUpperCase(), path: `/v1${path}`, ...parsed.data }] : [];
      }),
    );
    return page(
      'comfy-edge API',
      html`<h1>comfy-edge API v1</h1>
        <p>
          Every call carries <code>Authorization: Bearer &lt;key&gt;</code>. As a document:
          <a href="/openapi.json">openapi.json</a>. Problems: <a href="/problems">what each code means</a>.
        </p>
        <table>
          ${operations.map(
            ({ method, path, operationId, summary }) =>
              html`<tr>
                <td class="method">${method}</td>
                <td>
                  <a href="#${operationId}"><code>${path}</code></a>
                </td>
                <td>${summary}</td>
              </tr>`,
          )}
        </table>
        ${operations.map((each) => section(each))}`,
    );
  });

  routes.get('/problems', () =>
    page(
      'Problems',
      html`<h1>Problems</h1>
        <p>The <code>type</code> of every <code>application/problem+json</code> answer is one of these.</p>
        <table>
          <tr>
            <th>code</th>
            <th>status</th>
            <th></th>
          </tr>
          ${ERROR_CODES.map((code) => {
            const { status, title } = errorOf(code);
            return html`<tr>
              <td>
                <a href="/problems/${code}"><code>${code}</code></a>
              </td>
              <td>${status}</td>
              <td>${title}</td>
            </tr>`;
          })}
        </table>`,
    ),
  );

  routes.get('/problems/:code', (c) => {
    const code = ERROR_CODES.find((each) => each === c.req.param('code'));
    if (code === undefined) {
      return problem(c, 'not_found', { detail: 'The resource does not exist.' });
    }
    const { status, title, text, retryable } = errorOf(code);
    return page(
      title,
      html`<h1>${title}</h1>
        <p>${withCode(text)}</p>
        <p>
          Code <code>${code}</code>, status ${status}${retryable === true ? ', retryable' : ''}. The response's
          <code>detail</code> says more; for bodies, <code>errors</code> names each place by a JSON pointer.
        </p>
        <p><a href="/problems">All problems</a></p>`,
    );
  });

  return routes;
}

const section = ({
  method,
  path,
  operationId,
  summary,
  deprecated,
  security,
  parameters,
  requestBody,
  responses,
}: Operation & { method: string; path: string }): Markup =>
  html`<h2 id="${operationId}"><span class="method">${method}</span> <code>${path}</code></h2>
    <p>${deprecated ? 'Deprecated. ' : ''}${summary}. ${whoMay(security)}</p>
    <table>
      ${parameters.map(
        (each) =>
          html`<tr>
            <td><code>${each.name}</code></td>
            <td>${each.in}${each.required ? ', required' : ''}</td>
            <td><code>${JSON.stringify(each.schema)}</code></td>
          </tr>`,
      )}
    </table>
    ${Object.entries(requestBody?.content ?? {}).map(
      ([type, { schema, example }]) =>
        html`<p>Body, <code>${type}</code>:</p>
          ${exampleOf(example)}
          <pre>${JSON.stringify(schema, null, 2)}</pre>`,
    )}
    <table>
      ${Object.entries(responses).map(
        ([status, { description }]) =>
          html`<tr>
            <td><code>${status}</code></td>
            <td>${description}</td>
          </tr>`,
      )}
    </table>
    ${Object.entries(responses).flatMap(([status, { content }]) =>
      Number(status) >= 400
        ? []
        : Object.values(content).flatMap(({ example }) =>
            example === undefined ? [] : [html`<p>${status}:</p>`, ...exampleOf(example)],
          ),
    )}`;

const exampleOf = (example: unknown): Markup[] =>
  example === undefined ? [] : [html`<pre class="example">${JSON.stringify(example, null, 2)}</pre>`];

/** Who may call an operation, in words. */
function whoMay(security: Operation['security']): Markup {
  const words: Record<string, string> = {
    admin: 'the operator’s ADMIN_TOKEN',
    readToken: 'a read token of the job',
    readTokenInQuery: 'a read token in ?token=',
  };
  const [key] = security.flatMap((each) => each['key'] ?? []);
  const others = security.flatMap((each) => Object.keys(each)).flatMap((scheme) => words[scheme] ?? []);
  return key === undefined
    ? html`Needs no key.`
    : html`Needs a key with <code>${key}</code>${others.map((other) => `, or ${other}`).join('')}.`;
}

/**
 * A text of the table of errors: backticks become `code`, and links, which lead to other documents, become plain text.
 */
const withCode = (text: string): Markup => {
  const parts = text.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').split('`');
  return {
    markup: parts.map((part, at) => (at % 2 === 0 ? html`${part}` : html`<code>${part}</code>`).markup).join(''),
  };
};
