// Uses the types that openapi-typescript generates, as a person would; `make description` compiles this file.

import type { paths } from "../../build/openapi.js";

type Start = paths["/job/{name}"]["post"];
type Json<Response extends { content: { "application/json": unknown } }> = Response["content"]["application/json"];

export const query: Start["parameters"]["query"] = { dryRun: true };
export const followed: paths["/job/{name}/{id}/logs"]["get"]["parameters"]["query"] = { follow: true };
export const listed: paths["/job/{name}"]["get"]["parameters"]["query"] = { limit: 20, status: ["Queued"] };

type Schedule = Json<paths["/job-schedules/{name}/{id}"]["get"]["responses"][200]>;

export function describeSchedule(schedule: Schedule): string {
  return `${schedule.Schedule} ${schedule.TimeZone} ${schedule.Status}`;
}

export function describeAccepted(run: Json<Start["responses"][202]>): string {
  return `${run.Id} ${run.Status} ${run.Message ?? ""}`;
}

export function describeEnded(answer: Json<Start["responses"][200]>): string {
  return "kind" in answer ? `would store a ${answer.kind}` : `${answer.Status} ${answer.ExitCode}`;
}
