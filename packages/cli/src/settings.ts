/**
 * What a zod schema says about each setting, in the few terms that flags, help and error sentences need.
 *
 * zod writes any schema as JSON Schema; that is one plain description for every kind of check, and the same one that
 * an editor reads from configs/schema.json.
 */
import { z } from 'zod';

/** A schema of settings: each key with `.default(...)` or `.optional()`, `.describe(...)`, and `.meta({ group })`. */
export type ConfigSchema = z.ZodObject;

/** The part of JSON Schema that settings use. */
export interface Shape {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Shape[];
  readonly items?: Shape;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly multipleOf?: number;
  readonly default?: unknown;
  readonly description?: string;
  readonly group?: string;
}

/** The schema's settings by key, in the order in which it names them. */
export function settingsOf(schema: ConfigSchema): ReadonlyMap<string, Shape> {
  const { properties } = z.toJSONSchema(schema, { io: 'input', target: 'draft-7' });
  return new Map(Object.entries(properties ?? {}) as [string, Shape][]);
}

/**
 * JSON Schema for configs/schema.json: an editor completes keys and values of a file that names it under "$schema".
 * Nothing is required, since every setting that must have a value has a default.
 */
export function jsonSchemaOf(schema: ConfigSchema): Record<string, unknown> {
  const { required: _, ...json } = z.toJSONSchema(schema, { io: 'input', target: 'draft-7' });
  return { ...json, properties: { $schema: { type: 'string' }, ...json.properties }, additionalProperties: false };
}

const alternatives = (shape: Shape): readonly Shape[] => shape.anyOf ?? [shape];

/** Whether values of this JSON type ('boolean', 'number', ...) are among those that the setting takes. */
export const takes = (shape: Shape, type: string): boolean =>
  alternatives(shape).some((one) => one.type === type || (type === 'number' && one.type === 'integer'));

/** The values that would do, as a noun: 'a whole number from 1 to 64', 'one of a, b', 'auto or a whole number'. */
export function wanted(shape: Shape): string {
  return alternatives(shape).map(wantedOne).join(' or ');
}

function wantedOne(shape: Shape): string {
  if (shape.const !== undefined) return String(shape.const);
  if (shape.enum) return `one of ${shape.enum.join(', ')}`;
  if (shape.type === 'boolean') return 'true or false';
  if (shape.type === 'array') return `${wanted(shape.items ?? {})}, or several with commas between`;
  if (shape.type === 'integer') return `a whole number${range(shape)}`;
  if (shape.type === 'number') return `a number${range(shape)}`;
  return 'text';
}

/** ' of at least 1', ' from 0 to 1', ' above 0 and up to 1'. zod bounds whole numbers at 2^53, which goes unsaid. */
function range({ minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf }: Shape): string {
  const isSaid = (bound: number | undefined): bound is number =>
    bound !== undefined && Math.abs(bound) < Number.MAX_SAFE_INTEGER;
  const multiple = multipleOf === undefined ? '' : ` divisible by ${multipleOf}`;
  if (isSaid(minimum) && isSaid(maximum)) return `${multiple} from ${minimum} to ${maximum}`;
  const bounds = [
    isSaid(minimum) ? `of at least ${minimum}` : '',
    isSaid(exclusiveMinimum) ? `above ${exclusiveMinimum}` : '',
    isSaid(maximum) ? `of at most ${maximum}` : '',
    isSaid(exclusiveMaximum) ? `below ${exclusiveMaximum}` : '',
  ];
  const said = bounds.filter(Boolean).join(' and ');
  return said ? `${multiple} ${said}` : multiple;
}

/** The value of a flag's text: what it reads as among the types the setting takes, else the text itself. */
export function parseValue(text: string, shape: Shape): unknown {
  if (takes(shape, 'boolean') && (text === 'true' || text === 'false')) return text === 'true';
  if (takes(shape, 'number') && text.trim() !== '' && Number.isFinite(Number(text))) return Number(text);
  if (takes(shape, 'array'))
    return text === '' ? [] : text.split(',').map((part) => parseValue(part, shape.items ?? {}));
  return text;
}

/** The key nearest to a misspelt one, if it's near: at most a third of its letters would change. */
export function nearest(key: string, known: Iterable<string>): string | undefined {
  const ranked = [...known].map((name) => ({ name, cost: edits(key.toLowerCase(), name.toLowerCase()) }));
  const best = ranked.sort((a, b) => a.cost - b.cost)[0];
  return best && best.cost <= Math.max(1, key.length / 3) ? best.name : undefined;
}

/** How many letters to insert, drop, change or swap with their neighbour to make b of a. */
function edits(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number): number => rows[i]?.[j] ?? 0;
  for (let i = 1; i <= a.length; i++) {
    rows[i] = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = isSwap ? at(i - 2, j - 2) + 1 : change;
      rows[i]?.push(Math.min(change, swap, at(i - 1, j) + 1, at(i, j - 1) + 1));
    }
  }
  return at(a.length, b.length);
}
