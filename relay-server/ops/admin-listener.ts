/**
 * AdminListener: answers the operator's questions about a running relay: is it alive, is it ready, what does it do. Who
 * gets an answer is AdminServer's to decide; config/openapi/relay.json describes all of them.
 *
 * Owned by: Relay, which closes it last.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Address } from '../../shared/address.js';
import {
  AdminServer,
  type AdminServerOptions,
  type Answer,
  type Asker,
  answerKnown,
  jsonAnswer,
  type Readiness,
  readinessAnswer,
  textAnswer,
} from '../../shared/admin-server.js';
import type { CertificateStatus } from '../../shared/certs/certificates.js';
import { asTunnelError } from '../../shared/errors.js';
import { readPackageFile } from '../../shared/files/package-file.js';
import { EXPOSITION_TYPE } from '../../shared/metrics/exposition.js';
import type { Secret } from '../../shared/secret.js';
import { certificateEntry } from './certificate-report.js';
import type { DeviceEntry } from './device-report.js';
import type { RelayStatus } from './relay-status.js';
import type { TokenEntry } from './token-report.js';
import { answerWatch, type WatchSubject } from './watch-answer.js';

/** What the listener needs of the relay. */
export interface AdminSubject extends WatchSubject {
  status(): RelayStatus;
  /** In Prometheus's text format. */
  metrics(): string;
  /** Whether visitors should be sent here. */
  ready(): Readiness;
  tokens(): readonly TokenEntry[];
  /** Clients that it has met, connected or not. */
  devices(): readonly DeviceEntry[];
  /** Every certificate, ready or not. */
  certificates(): readonly CertificateStatus[];
  /** Replaces a certificate now. Rejects with the TunnelError that says why that failed. */
  renewCertificate(hostname: string): Promise<void>;
  /** Misses a tunnel that is down no longer. Throws when it is not down. */
  forgetTunnel(address: string): void;
  /** Takes what was put into the state folder meanwhile. */
  reloadCertificates(): void;
  /** What a question must prove to know. Throws when that cannot be read. */
  adminToken?(): Secret | undefined;
}

const API = '/api/v1';
const ACTIONS = /^\/api\/v1\/(?:certificates\/(?:reload|([^/]+)\/renew)|tunnels\/([^/]+)\/forget)$/;
const OPENAPI_FILE = 'config/openapi/relay.json';

type Question = (subject: AdminSubject, who: Asker) => Answer;

/** All that can be read, by path. */
const QUESTIONS: ReadonlyMap<string, Question> = new Map<string, Question>([
  ['/healthz', () => textAnswer(200, 'ok')],
  ['/readyz', (subject, who) => readinessAnswer(subject.ready(), who)],
  ['/metrics', (subject) => ({ status: 200, contentType: EXPOSITION_TYPE, body: subject.metrics() })],
  [`${API}/status`, (subject) => jsonAnswer(subject.status())],
  [`${API}/sessions`, (subject) => jsonAnswer(subject.status().sessions)],
  [`${API}/tunnels`, (subject) => jsonAnswer(subject.status().tunnels)],
  [`${API}/tokens`, (subject) => jsonAnswer(subject.tokens())],
  [`${API}/devices`, (subject) => jsonAnswer(subject.devices())],
  [`${API}/certificates`, (subject) => jsonAnswer(subject.certificates().map(certificateEntry))],
  [
    `${API}/openapi.json`,
    () => ({ status: 200, contentType: 'application/json; charset=utf-8', body: readPackageFile(OPENAPI_FILE) }),
  ],
]);

export class AdminListener {
  readonly #server: AdminServer;

  private constructor(server: AdminServer) {
    this.#server = server;
  }

  /**
   * Listens at `address`, or with the `given` descriptor.
   * @throws {TunnelError} CONFIG_INVALID when the address cannot be taken.
   */
  static async listen(address: Address, subject: AdminSubject, given?: number): Promise<AdminListener> {
    const options = { option: 'listen.admin', token: () => subject.adminToken?.(), ...questionsOf(subject) };
    return new AdminListener(await AdminServer.listen(address, options, given));
  }

  /** Where it listens, with the port that the system chose for port 0. */
  get address(): Address {
    return this.#server.address;
  }

  /** What listens, for a successor. */
  get server(): AdminServer['server'] {
    return this.#server.server;
  }

  /** Ends every connection and frees the port. Safe in any state, any number of times. */
  close(): Promise<void> {
    return this.#server.close();
  }
}

/** Answers a request that came by a way that only the operator has. */
export function answerOperator(
  request: IncomingMessage,
  response: ServerResponse,
  subject: AdminSubject,
): Promise<void> {
  return answerKnown(request, response, questionsOf(subject));
}

function questionsOf(subject: AdminSubject): Pick<AdminServerOptions, 'isAction' | 'answer'> {
  return {
    isAction: (path) => ACTIONS.test(path),
    answer: (path, request, response, who) =>
      answerWatch(request, response, subject) ? undefined : answer(path, request, subject, who),
  };
}

function answer(path: string, request: IncomingMessage, subject: AdminSubject, who: Asker): Answer | Promise<Answer> {
  if (request.method === 'POST') return act(path, subject);
  const question = QUESTIONS.get(path);
  if (question !== undefined) return question(subject, who);
  return textAnswer(404, `Cannot find that. Ask for ${[...QUESTIONS.keys()].join(', ')}.`);
}

/** What can be asked for: `certificates/reload`, `certificates/NAME/renew`, `tunnels/ADDRESS/forget`. */
async function act(path: string, subject: AdminSubject): Promise<Answer> {
  const [, hostname, address] = ACTIONS.exec(path) ?? [];
  try {
    if (address !== undefined) {
      subject.forgetTunnel(decodeURIComponent(address));
      return jsonAnswer(subject.status().tunnels);
    }
    if (hostname === undefined) subject.reloadCertificates();
    else await subject.renewCertificate(decodeURIComponent(hostname));
  } catch (error) {
    const { code, message } = asTunnelError(error, 'REQUEST_INVALID');
    return jsonAnswer({ code, message }, 409);
  }
  return jsonAnswer(subject.certificates().map(certificateEntry));
}
