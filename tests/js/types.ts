// Compiled, never run: the official client with types generated from the bookshop of tests/meta.
import { createClient } from "@supabase/supabase-js"
import {
  Constants,
  type CompositeTypes,
  type Database,
  type Enums,
  type Tables,
  type TablesInsert,
  type TablesUpdate,
} from "./database.js"

const client = createClient<Database>("http://localhost", "key")

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function same<A, B>(_: Equal<A, B>): void {}

export async function read() {
  const { data: books } = await client
    .from("book")
    .select("title, tag, author(name), cover(design), full_title")
  same<NonNullable<typeof books>[number]["author"], { name: string }>(true)
  same<NonNullable<typeof books>[number]["tag"], Enums<"genre"> | null>(true)

  const { data: found } = await client.rpc("search", { term: "x" })
  same<
    NonNullable<typeof found>,
    { found: Database["public"]["Enums"]["genre"]; title: string }[]
  >(true)

  await client.from("author").insert({ name: "Ann" })
  // @ts-expect-error an identity that is always generated cannot be written
  await client.from("author").insert({ id: 1, name: "Ann" })
  // @ts-expect-error no such table
  await client.from("nothing").select()
  await client.schema("hidden").from
}

same<Tables<"author">["born"], string | null>(true)
same<TablesInsert<"author">["name"], string>(true)
same<TablesUpdate<"author">["name"], string | undefined>(true)
same<Tables<"novel">["writer"], number | null>(true)
same<CompositeTypes<"price">["currency"], string | null>(true)
same<(typeof Constants.public.Enums.genre)[number], Enums<"genre">>(true)
same<Tables<{ schema: "public" }, "shelf">["room"], number>(true)
