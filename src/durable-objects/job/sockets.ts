import { z } from 'zod';
import { writeWatchFrame, type LiveEvent, type LogEvent, type WatchFrame } from '../../contract/events.ts';
import type { StopReason } from '../../domain/job/signals.ts';

/**
 * The WebSockets of a Job object: at most one *channel* to the worker, and up to `max_watchers` *watchers*. All
 * hibernate: the object costs nothing while they are silent, and all data of a socket is in its attachment, not on the
 * heap.
 */

const attachment = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('channel'), attempt: z.number(), claim: z.string(), opened_at: z.number() }),
  z.object({ kind: z.literal('watch') }),
]);
export type SocketIdentity = z.infer<typeof attachment>;

/** Close codes of the worker contract. */
export const CLOSE = { replaced: 4000, silent: 4008, invalid: 4400, superseded: 4409, over: 4410 } as const;

/**
 * A worker pings every 10 s (docs/reference/worker-contract.md, channel). One that is silent for this long counts as
 * lost.
 */
export const SILENT_MS = 60_000;

export const identityOf = (socket: WebSocket): SocketIdentity | null =>
  attachment.safeParse(socket.deserializeAttachment()).data ?? null;

export class JobSockets {
  private readonly ctx: DurableObjectState;

  constructor(ctx: DurableObjectState) {
    this.ctx = ctx;
  }

  /** Accepts the server end of a new pair with this identity, and returns both ends. */
  accept(identity: SocketIdentity): { client: WebSocket; server: WebSocket } {
    const { 0: client, 1: server } = new WebSocketPair();
    // The platform answers pings without waking the object (docs/reference/worker-contract.md, channel). Set here and
    // not in the constructor, because most instances have no socket.
    this.ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair('ping', 'pong'));
    this.ctx.acceptWebSocket(server, [identity.kind]);
    server.serializeAttachment(identity);
    return { client, server };
  }

  channels(attempt?: number): WebSocket[] {
    return this.ctx.getWebSockets('channel').filter((socket) => {
      const identity = identityOf(socket);
      return isOpen(socket) && identity?.kind === 'channel' && (attempt === undefined || identity.attempt === attempt);
    });
  }

  /** Channels without a ping for `SILENT_MS`. A host that dies closes its connection without an event. */
  silentChannels(now: number): WebSocket[] {
    return this.channels().filter((socket) => {
      const identity = identityOf(socket);
      const pinged = this.ctx.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0;
      return identity?.kind === 'channel' && now - Math.max(identity.opened_at, pinged) >= SILENT_MS;
    });
  }

  /** The number of watchers whose socket is open. */
  watchers(): number {
    return this.ctx.getWebSockets('watch').filter(isOpen).length;
  }

  /** Sends events to all watchers. Each event is written as text once. Returns the number of watchers. */
  broadcast(events: readonly (LogEvent | LiveEvent)[]): number {
    if (events.length === 0) {
      return 0;
    }
    const frames = events.map(writeWatchFrame);
    const watchers = this.ctx.getWebSockets('watch');
    for (const watcher of watchers) {
      for (const frame of frames) {
        send(watcher, frame);
      }
    }
    return watchers.length;
  }

  closeWatchers(): void {
    for (const watcher of this.ctx.getWebSockets('watch')) {
      close(watcher, 1000, 'over');
    }
  }

  /** Tells the worker of this attempt to stop, if it is connected. */
  stopWorker(attempt: number, reason: StopReason): void {
    for (const channel of this.channels(attempt)) {
      send(channel, JSON.stringify({ cancel: true, reason }));
    }
  }

  /** Closes every channel but that of the current attempt. */
  closeStaleChannels(counting: number | null): void {
    for (const channel of this.channels()) {
      const identity = identityOf(channel);
      if (identity?.kind === 'channel' && identity.attempt !== counting) {
        close(channel, counting === null ? CLOSE.over : CLOSE.superseded, 'this attempt no longer counts');
      }
    }
  }
}

const isOpen = (socket: WebSocket): boolean => socket.readyState === WebSocket.OPEN;

export function sendFrame(
  socket: WebSocket,
  frame: WatchFrame | { ack: number; resend?: true } | { cancel: true; reason: StopReason },
): void {
  send(socket, 'event' in frame ? writeWatchFrame(frame) : JSON.stringify(frame));
}

/** Sends a frame. A closed socket is not an error: after a reconnect the peer asks for what it missed. */
export function send(socket: WebSocket, text: string): void {
  try {
    socket.send(text);
  } catch {
    close(socket, 1011, 'gone');
  }
}

export function close(socket: WebSocket, code: number, reason: string): void {
  try {
    socket.close(code, reason);
  } catch {
    // Already closed.
  }
}
