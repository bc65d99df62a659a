import { z } from '@hono/zod-openapi';
import { metrics, type Metric, type Sample } from '../../services/endpoints/metrics.ts';
import { defineRoute, type Route } from './route.ts';

/** Prometheus' text format. */
const TEXT = 'text/plain; version=0.0.4; charset=utf-8';

/** `GET /v1/metrics`: what the operator monitors, for Prometheus. */
const getMetrics = defineRoute({
  method: 'get',
  path: '/metrics',
  access: { scope: 'admin', operator: true },
  operationId: 'getMetrics',
  summary: 'Read the metrics (operator)',
  responses: { 200: { description: 'In Prometheus’ text format', content: { 'text/plain': { schema: z.string() } } } },
  async handle(c) {
    const found = await metrics(c.var.context, c.var.actor);
    return found.ok
      ? c.body(found.value.map(written).join(''), 200, { 'content-type': TEXT, 'cache-control': 'no-store' })
      : found;
  },
});

export const metricsRoutes: readonly Route[] = [getMetrics];

/** A metric without samples is left out: Prometheus would take its head for an empty one. */
const written = ({ name, type, help, samples }: Metric): string =>
  samples.length === 0
    ? ''
    : `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${samples.map((sample) => line(name, sample)).join('')}`;

function line(name: string, { labels, value }: Sample): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`);
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}\n`;
}

const escaped = (text: string): string =>
  text
    .replaceAll('\\', String.raw`\\`)
    .replaceAll('"', String.raw`\"`)
    .replaceAll('\n', String.raw`\n`);
