/**
 * MailChannel: hands an alert to the system's `sendmail`, which every mail program for Unix brings (Postfix, msmtp,
 * nullmailer, …). The recipient is an argument and stands in the head; text never becomes a header field.
 *
 * Owns: one process per mail, which it ends after SENDMAIL_MS. Owned by: Courier.
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { printable } from '../../../shared/printable.js';
import type { Alert } from './alert.js';
import { type Channel, DeliveryError } from './channel.js';
import { textOf } from './http-channels.js';

export interface MailOptions {
  /** The program's path. */
  readonly sendmail: string;
  readonly to: string;
  /** The sender; the program decides when left out. */
  readonly from: string | undefined;
}

const SENDMAIL_MS = 30_000;
/** Exit codes by which sendmail asks for another try (sysexits.h: EX_TEMPFAIL, EX_OSERR, EX_UNAVAILABLE). */
const RETRIED: ReadonlySet<number> = new Set([75, 71, 69]);
const MAX_ENCODED_BYTES = 45;

export function mailChannel(options: MailOptions): Channel {
  return { name: 'mail', send: (alert, signal) => runSendmail(options, mailOf(alert, options), signal) };
}

/** The whole mail (RFC 5322), with LF line ends as sendmail wants them. */
export function mailOf(alert: Alert, { to, from }: Pick<MailOptions, 'to' | 'from'>): string {
  const fields = [
    ...(from === undefined ? [] : [`From: Sallyport <${from}>`]),
    `To: ${to}`,
    `Subject: ${encodedWords(`[${alert.relay}] ${alert.title}`)}`,
    `Date: ${new Date(alert.atMs).toUTCString().replace('GMT', '+0000')}`,
    `Message-ID: <${randomUUID()}@${alert.relay}>`,
    'Auto-Submitted: auto-generated',
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: 8bit',
  ];
  return `${fields.join('\n')}\n\n${textOf(alert).split('\n').map(printable).join('\n')}`;
}

/** RFC 2047 where it must be. */
function encodedWords(text: string): string {
  const plain = printable(text);
  if (/^[\x20-\x7e]*$/.test(plain)) return plain;
  const words: string[] = [];
  let word = '';
  for (const character of plain) {
    if (Buffer.byteLength(word + character) > MAX_ENCODED_BYTES) {
      words.push(word);
      word = '';
    }
    word += character;
  }
  return [...words, word].map((part) => `=?utf-8?B?${Buffer.from(part).toString('base64')}?=`).join('\n ');
}

async function runSendmail({ sendmail, to, from }: MailOptions, mail: string, outer: AbortSignal): Promise<void> {
  const signal = AbortSignal.any([outer, AbortSignal.timeout(SENDMAIL_MS)]);
  // -i: a line with a lone dot does not end the mail.
  const args = ['-i', ...(from === undefined ? [] : ['-f', from]), to];
  const child = spawn(sendmail, args, { stdio: ['pipe', 'ignore', 'ignore'], signal, killSignal: 'SIGKILL' });
  child.stdin.on('error', () => {});
  child.stdin.end(mail);
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    if (code !== 0) throw new DeliveryError(`${sendmail} ended with ${code}`, code === null || RETRIED.has(code));
  } catch (error) {
    outer.throwIfAborted();
    if (error instanceof DeliveryError) throw error;
    const word = signal.aborted ? `did not end in ${SENDMAIL_MS} ms` : (error as NodeJS.ErrnoException).code;
    throw new DeliveryError(`${sendmail}: ${word ?? 'failed'}`, signal.aborted);
  }
}
