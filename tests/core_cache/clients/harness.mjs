// What the scripts here share. Each is run by test_real_clients.py with PREDIS_CLIENT in its environment: where the
// cache is, which protocol to speak, and where the npm packages lie. It prints "ok NAME" after each flow that passed.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

export const settings = JSON.parse(process.env.PREDIS_CLIENT);
export const load = createRequire(`${settings.packages}/package.json`);

// Runs the flows one after the other; the first that fails ends the process with its error.
export async function run(flows) {
  for (const [name, flow] of Object.entries(flows)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no end after ${settings.patience} ms`)), settings.patience);
    });
    try {
      await Promise.race([flow(), late]);
    } catch (error) {
      console.error(`flow "${name}" failed:`, error);
      process.exit(1);
    } finally {
      clearTimeout(timer);
    }
    console.log(`ok ${name}`);
  }
  process.exit(0);
}

// Prints a line for the test and waits until the test has done what it asks for and answers with a line.
export async function ask(line) {
  const lines = createInterface({ input: process.stdin });
  console.log(line);
  for await (const _ of lines) break;
  lines.close();
}

// Waits until `condition` is true; the flow's own time limit ends a wait in vain.
export async function until(condition) {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}
