// What a program does with the generated client: a job from its beginning to its end, and an error that it understands.
import HeroSupervisor from "./index";

async function main(host: string, port: number): Promise<void> {
  const hero = new HeroSupervisor({ transport: { type: "http", host, port } });
  const jobId: string = await hero.queue_job_to_runner("a", { payload: "print(6 * 7)" });
  const [result] = await hero.wait_for_jobs([jobId], 30);
  console.log(result.status, result.result);
  try {
    await hero.get_runner_status("nobody");
  } catch (error) {
    console.log(error.code, error.data.kind);
  }
}

main(process.argv[2], Number(process.argv[3])).then(() => process.exit(0));
