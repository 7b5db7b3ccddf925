/**
 * Crowd: a relay with many clients, for the figures that ask what each of them costs.
 */
import type { Scene } from '../scene.js';
import type { SubjectPart } from './subject.js';

/** A relay that clients may join. */
export interface Crowd {
  /** Where visitors arrive. */
  readonly port: number;
  /** What runs now; a restart changes it. */
  readonly parts: readonly SubjectPart[];
  /** Brings clients, with one tunnel for each host between them; resolves when all serve. Once. */
  join(clients: number, hosts: readonly string[]): Promise<void>;
  /** Restarts the relay as an operator would. Resolves when all clients serve again. */
  restart(): Promise<Restart>;
}

export interface Restart {
  /** From the moment when the new relay listens until all clients serve. */
  readonly seconds: number;
  /** What the new relay used of the processors in that time. */
  readonly cpuSeconds: number;
}

/** A crowd that may be started. */
export interface CrowdKind {
  readonly name: string;
  readonly what: string;
  /** Why it cannot be had here with so many clients; undefined when it can. */
  missing(clients: number): string | undefined;
  /** Starts the relay alone, made for so many connections; ended with the scene. */
  start(scene: Scene, connections: number): Promise<Crowd>;
}
