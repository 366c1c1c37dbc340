// Storage for `oidc-provider` in one table of PostgreSQL, a row per thing that it keeps.
import pg from "pg";

const TABLE = `
  create schema if not exists peer;
  create table if not exists peer.kept (
    model text not null,
    id text not null,
    payload jsonb not null,
    grant_id text,
    user_code text,
    uid text,
    consumed_at timestamptz,
    expires_at timestamptz,
    primary key (model, id)
  );
  create index if not exists kept_grant on peer.kept (grant_id) where grant_id is not null;
  create unique index if not exists kept_user_code on peer.kept (model, user_code) where user_code is not null;
  create index if not exists kept_uid on peer.kept (model, uid) where uid is not null;
`;

// As many connections as fakts may open.
const CONNECTIONS = 10;

export async function postgresAdapter(database) {
  const pool = new pg.Pool({ ...database, max: CONNECTIONS });
  await pool.query(TABLE);
  const query = (name, text, values) => pool.query({ name, text, values });

  return class {
    constructor(model) {
      this.model = model;
    }

    async upsert(id, payload, seconds) {
      await query(
        "upsert",
        `insert into peer.kept (model, id, payload, grant_id, user_code, uid, expires_at)
         values ($1, $2, $3, $4, $5, $6, now() + $7 * interval '1 second')
         on conflict (model, id) do update set payload = excluded.payload, grant_id = excluded.grant_id,
           user_code = excluded.user_code, uid = excluded.uid, expires_at = excluded.expires_at`,
        [this.model, id, payload, payload.grantId, payload.userCode, payload.uid, seconds],
      );
    }

    find(id) {
      return this.#one("find", "id = $2", id);
    }

    findByUserCode(userCode) {
      return this.#one("find_by_user_code", "user_code = $2", userCode);
    }

    findByUid(uid) {
      return this.#one("find_by_uid", "uid = $2", uid);
    }

    async consume(id) {
      await query("consume", "update peer.kept set consumed_at = now() where model = $1 and id = $2", [this.model, id]);
    }

    async destroy(id) {
      await query("destroy", "delete from peer.kept where model = $1 and id = $2", [this.model, id]);
    }

    async revokeByGrantId(grantId) {
      await query("revoke", "delete from peer.kept where model = $1 and grant_id = $2", [this.model, grantId]);
    }

    async #one(name, condition, value) {
      const { rows } = await query(
        name,
        `select payload, consumed_at from peer.kept
         where model = $1 and ${condition} and (expires_at is null or expires_at > now())`,
        [this.model, value],
      );
      if (rows.length === 0) return undefined;
      const [{ payload, consumed_at: consumed }] = rows;
      return consumed ? { ...payload, consumed: Math.floor(consumed.getTime() / 1000) } : payload;
    }
  };
}
