import { z } from 'zod';
import { strictChecks, type Check } from './schemas.ts';

/**
 * Checks a response against the OpenAPI document that the gateway serves. Every call of a test uses it, in workerd
 * (`../gateway.ts`) and in Node (`test/e2e/platform.ts`).
 */

const headerSchema = z.object({ required: z.boolean().default(false), schema: z.unknown() });
const mediaSchema = z.object({ schema: z.unknown() });
const responseSchema = z.object({
  headers: z.record(z.string(), headerSchema).default({}),
  content: z.record(z.string(), mediaSchema).default({}),
});
const operationSchema = z.object({ responses: z.record(z.string(), responseSchema) });
const documentSchema = z.object({
  servers: z.tuple([z.object({ url: z.string() })]),
  paths: z.record(z.string(), z.record(z.string(), operationSchema)),
  components: z.object({ schemas: z.record(z.string(), z.unknown()) }),
});

type Response_ = z.infer<typeof responseSchema>;
type Operation = { method: string; path: string; pattern: RegExp; responses: Record<string, Response_> };

/** Headers that every HTTP answer may have and that say nothing of this API. All others must be described. */
const PLAIN_HEADERS = new Set([
  'cache-control',
  'connection',
  'content-encoding',
  'content-length',
  'content-security-policy',
  'content-type',
  'date',
  'keep-alive',
  'referrer-policy',
  'transfer-encoding',
  'vary',
  'x-content-type-options',
]);

/** Routes with a protocol of their own. The document describes v1, and the problems of all other routes. */
const OTHER_PROTOCOLS = /^\/(?:worker|hooks)\//;

const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json$/;
const PROBLEM_TYPE = 'application/problem+json';
const PROBLEM = { $ref: '#/components/schemas/Problem' };

export class Contract {
  private readonly base: string;
  private readonly operations: Operation[];
  private readonly strict: (schema: unknown) => Check;
  private readonly made = new Map<unknown, Check>();

  constructor(served: unknown) {
    const document = documentSchema.parse(withoutReferences(served));
    this.base = new URL(document.servers[0].url).pathname;
    this.strict = strictChecks(document.components.schemas);
    this.operations = Object.entries(document.paths)
      .flatMap(([path, methods]) =>
        Object.entries(methods).map(([method, { responses }]) => ({
          method: method.toUpperCase(),
          path,
          pattern: patternOf(path),
          responses,
        })),
      )
      // `/jobs/dry-run` before `/jobs/{id}`.
      .sort((a, b) => parameters(a.path) - parameters(b.path));
  }

  /** The violations of a response. Reads a copy of a JSON body. */
  async broken(method: string, url: string, response: Response): Promise<string[]> {
    const { pathname } = new URL(url);
    // The Fetch standard, not this document, describes the response to a browser's preflight.
    const isPreflight = method === 'OPTIONS' && response.headers.get('vary')?.includes('Access-Control-Request-Method');
    if (response.status === 101 || OTHER_PROTOCOLS.test(pathname) || isPreflight === true) {
      return [];
    }
    const operation = this.operationFor(method, pathname);
    if (operation === undefined) {
      return this.brokenOutside(pathname, response);
    }
    const declared = operation.responses[response.status];
    if (declared === undefined) {
      return [`${response.status} is not described for this route`];
    }
    return [...this.brokenHeaders(declared, response), ...(await this.brokenBody(declared, method, response))];
  }

  private operationFor(method: string, pathname: string): Operation | undefined {
    if (!pathname.startsWith(`${this.base}/`)) {
      return undefined;
    }
    const path = pathname.slice(this.base.length);
    // Every GET route answers HEAD (RFC 9110 section 9.3.2), with the same headers.
    const asked = method === 'HEAD' ? 'GET' : method;
    // A literal path wins over a pattern, for every method (OpenAPI 3.1, Paths Object).
    const found = this.operations.find((each) => each.pattern.test(path));
    return this.operations.find((each) => each.method === asked && each.path === found?.path);
  }

  /** Without an operation, v1 may only answer with a problem. Outside of v1, errors are problems. */
  private async brokenOutside(pathname: string, response: Response): Promise<string[]> {
    if (response.status < 400) {
      return pathname.startsWith(`${this.base}/`) ? [`answered ${response.status} and is not described`] : [];
    }
    if (response.body === null) {
      return [];
    }
    const type = essence(response);
    return type === PROBLEM_TYPE
      ? this.brokenJson(PROBLEM, response)
      : [`an error must be ${PROBLEM_TYPE}, not ${type ?? 'without a type'}`];
  }

  private brokenHeaders(declared: Response_, response: Response): string[] {
    const described = new Map(Object.entries(declared.headers).map(([name, header]) => [name.toLowerCase(), header]));
    const missing = [...described]
      .filter(([name, { required }]) => required && !response.headers.has(name))
      .map(([name]) => `the header ${name} is missing`);
    const wrong = [...response.headers].flatMap(([name, text]) => {
      const header = described.get(name);
      if (header === undefined) {
        const known = PLAIN_HEADERS.has(name) || name.startsWith('access-control-') || name.startsWith('cf-');
        return known ? [] : [`the header ${name} is not described`];
      }
      const value = isInteger(header.schema) && /^\d+$/.test(text) ? Number(text) : text;
      return this.check(header.schema)(value).map((issue) => `the header ${name}: ${issue}`);
    });
    return [...missing, ...wrong];
  }

  private async brokenBody(declared: Response_, method: string, response: Response): Promise<string[]> {
    const described = Object.entries(declared.content);
    if (described.length === 0) {
      return response.body === null || (await response.clone().arrayBuffer()).byteLength === 0
        ? []
        : ['no body is described'];
    }
    const type = essence(response);
    const [, media] = described.find(([range]) => range === type || range === '*/*') ?? [];
    if (media === undefined) {
      return [`the type ${type ?? '(none)'} is not described`];
    }
    const readable = type !== null && JSON_TYPE.test(type) && described.every(([range]) => range !== '*/*');
    return method === 'HEAD' || !readable ? [] : this.brokenJson(media.schema, response);
  }

  private async brokenJson(schema: unknown, response: Response): Promise<string[]> {
    const text = await response.clone().text();
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      return ['the body is not JSON'];
    }
    return this.check(schema)(body);
  }

  /** A schema's check, made once. */
  private check(schema: unknown): Check {
    const known = this.made.get(schema);
    if (known !== undefined) {
      return known;
    }
    const made = this.strict(schema);
    this.made.set(schema, made);
    return made;
  }
}

/** A call whose answer is held against the contract; what breaks it is noted, and thrown at the caller. */
export function checkedAgainst<A extends unknown[]>(
  contract: () => Promise<Contract>,
  note: (issue: string) => void,
  call: (request: Request, ...rest: A) => Promise<Response> | Response,
): (request: Request, ...rest: A) => Promise<Response> {
  return async (request, ...rest) => {
    const { method, url } = request;
    const response = await call(request, ...rest);
    const broken = await (await contract()).broken(method, url, response);
    if (broken.length > 0) {
      const what = `${method} ${new URL(url).pathname} answered ${response.status} against /openapi.json`;
      const issue = `${what}:\n  ${broken.join('\n  ')}`;
      note(issue);
      throw new Error(issue);
    }
    return response;
  };
}

const essence = (response: Response): string | null =>
  response.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase() ?? null;

const isInteger = (schema: unknown): boolean =>
  typeof schema === 'object' && schema !== null && 'type' in schema && schema.type === 'integer';

const parameters = (path: string): number => path.split('{').length;

/** A parameter is one segment; an output's name, which is always last, may have slashes. */
const patternOf = (path: string): RegExp =>
  new RegExp(`^${path.replace(/\/outputs\/\{name\}$/, '/outputs/.+').replaceAll(/\{\w+\}/g, '[^/]+')}$`);

/** The document with responses and headers in the place of references to them. References to schemas stay. */
function withoutReferences(served: unknown): unknown {
  const resolve = (value: unknown): unknown => {
    if (Array.isArray(value)) {
      return value.map(resolve);
    }
    if (typeof value !== 'object' || value === null) {
      return value;
    }
    if ('$ref' in value && typeof value.$ref === 'string' && !value.$ref.startsWith('#/components/schemas/')) {
      return resolve(at(served, value.$ref));
    }
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, resolve(each)]));
  };
  return resolve(served);
}

/** What a reference within the document leads to. */
function at(document: unknown, reference: string): unknown {
  let found = document;
  for (const step of reference.slice('#/'.length).split('/')) {
    found =
      typeof found === 'object' && found !== null
        ? Object.entries(found).find(([key]) => key === step)?.[1]
        : undefined;
  }
  if (found === undefined) {
    throw new Error(`${reference} leads nowhere`);
  }
  return found;
}
