// Child processes that never outlive the test that started them.

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** A running program, its printed lines, and a way to end it. */
export class Running {
  readonly lines: string[] = [];
  private readonly waiting = new Set<() => void>();
  private readonly exited: Promise<void>;
  private hasExited = false;

  private constructor(
    private readonly child: ChildProcess,
    private readonly name: string,
  ) {
    for (const stream of [child.stdout!, child.stderr!]) {
      createInterface({ input: stream }).on("line", (line) => {
        this.lines.push(line);
        this.wake();
      });
    }
    this.exited = new Promise((resolve) => {
      const ended = () => {
        this.hasExited = true;
        this.wake();
        resolve();
      };
      child.once("exit", ended);
      child.once("error", (error) => {
        this.lines.push(String(error));
        ended();
      });
    });
  }

  static start(program: string, args: string[], env: Record<string, string> = {}): Running {
    const child = spawn(program, args, {
      env: { ...process.env, ...env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    return new Running(child, program);
  }

  /** Runs a program to its end, which must be a good one. */
  static async toEnd(program: string, args: string[]): Promise<void> {
    const running = Running.start(program, args);
    await running.exited;
    if (running.child.exitCode !== 0) {
      throw new Error(`${program} ${args.join(" ")} failed:\n${running.lines.join("\n")}`);
    }
  }

  /** Whether it runs no more. */
  get hasEnded(): boolean {
    return this.hasExited;
  }

  /** The first printed line that matches, as soon as it is printed. */
  async line(pattern: RegExp, timeoutMs = 20_000): Promise<RegExpMatchArray> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      for (const line of this.lines) {
        const found = line.match(pattern);
        if (found) return found;
      }
      const left = deadline - Date.now();
      if (this.hasExited || left <= 0) {
        const what = this.hasExited ? "ended" : `said nothing for ${timeoutMs} ms`;
        throw new Error(`${this.name} ${what} before ${pattern}:\n${this.lines.join("\n")}`);
      }
      await this.nextLine(left);
    }
  }

  /** A line for its standard input. */
  tell(line: string): void {
    this.child.stdin!.write(`${line}\n`);
  }

  /** Asks it to end; insists after five seconds. */
  async stop(): Promise<void> {
    if (!this.hasExited) {
      this.child.kill("SIGTERM");
      const insist = setTimeout(() => this.child.kill("SIGKILL"), 5_000);
      await this.exited;
      clearTimeout(insist);
    }
  }

  /** Sends it a signal. */
  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  /** Ends it at once, as a camera does whose plug is pulled. */
  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.exited;
  }

  private wake() {
    const waiting = [...this.waiting];
    this.waiting.clear();
    waiting.forEach((resume) => resume());
  }

  private nextLine(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.waiting.add(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}
