import type { Env } from '../../env.ts';
import type { Account } from '../account/object.ts';
import type { Endpoint } from '../endpoint/object.ts';
import type { Job } from '../job/object.ts';
import type { Webhook } from '../webhook/object.ts';

/**
 * Typed RPC to the objects. The platform's own stub types cannot follow JSON of unknown depth (graphs, error details) and turn
 * it into `never`, so the methods are typed from the class itself: the same calls, always with a promise.
 */
type Rpc<T, Methods extends keyof T> = {
  [Name in Methods]: T[Name] extends (...args: infer Args) => infer Answer
    ? (...args: Args) => Promise<Awaited<Answer>>
    : never;
};

export type JobStub = Rpc<
  Job,
  | 'create'
  | 'first'
  | 'admitted'
  | 'view'
  | 'cancel'
  | 'eraseNow'
  | 'claim'
  | 'uploader'
  | 'endpointOf'
  | 'complete'
  | 'hint'
  | 'named'
  | 'tidy'
  | 'wake'
> & {
  fetch(url: URL, init: RequestInit): Promise<Response>;
};
export type WebhookStub = Rpc<
  Webhook,
  | 'create'
  | 'view'
  | 'change'
  | 'rotate'
  | 'erase'
  | 'take'
  | 'forgetJob'
  | 'ping'
  | 'deliveries'
  | 'delivery'
  | 'redeliver'
  | 'redeliverRange'
>;
export type AccountStub = Rpc<
  Account,
  | 'admit'
  | 'recall'
  | 'abandon'
  | 'ask'
  | 'release'
  | 'forgetJob'
  | 'queuePosition'
  | 'keepAsset'
  | 'adoptAssets'
  | 'asset'
  | 'listAssets'
  | 'deleteAsset'
  | 'giveUpLoose'
  | 'beginUpload'
  | 'upload'
  | 'endUpload'
  | 'quota'
  | 'limits'
  | 'setLimits'
>;

export type EndpointStub = Rpc<Endpoint, 'ask' | 'leave' | 'ran' | 'line' | 'verdict' | 'status'>;

/** The object of a job. The id must have been checked to be one of ours: any name makes an object. */
export const jobStub = (env: Env, id: string): JobStub => env.JOB.getByName(id) as unknown as JobStub;

export const accountStub = (env: Env, account: string): AccountStub =>
  env.ACCOUNT.getByName(account) as unknown as AccountStub;

/** The object of a webhook. As for jobs: the id must have been checked. */
export const webhookStub = (env: Env, id: string): WebhookStub => env.WEBHOOK.getByName(id) as unknown as WebhookStub;

/** The object of an endpoint, by its name in the configuration. */
export const endpointStub = (env: Env, name: string): EndpointStub =>
  env.ENDPOINT.getByName(name) as unknown as EndpointStub;
