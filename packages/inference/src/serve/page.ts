/**
 * The chat page, one file of HTML (page.html), and the headers that fence it in: it runs its own script, uses its own
 * style, asks its own server, and nothing else.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

export interface Page {
  readonly html: string;
  readonly headers: Readonly<Record<string, string>>;
}

export function openPage(): Page {
  const html = readFileSync(new URL('./page.html', import.meta.url), 'utf8');
  const allowed = (tag: string): string => {
    const [, text = ''] = new RegExp(`<${tag}>(.*?)</${tag}>`, 's').exec(html) ?? [];
    return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  };
  const policy = [
    "default-src 'none'",
    "connect-src 'self'",
    'img-src data:',
    `script-src ${allowed('script')}`,
    `style-src ${allowed('style')}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ];
  const headers = {
    'Content-Security-Policy': policy.join('; '),
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
  };
  return { html, headers };
}
