{{/* What belongs together. Nothing here changes with a version: a label of a pod that did would make it anew. */}}
{{- define "shop.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "shop.labels" -}}
{{ include "shop.selector" . }}
app.kubernetes.io/part-of: shop
app.kubernetes.io/component: {{ .component | default "process" }}
{{- end }}

{{- define "shop.image" -}}
{{- with .root.Values.image.registry }}{{ . }}/{{ end -}}
{{ .root.Values.image.repository }}/{{ .name }}:{{ (get .root.Values.processes .name | default dict).tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* Every pod: no token of Kubernetes, and no variables about Services, of which AUTH_PORT=tcp://… would be one. */}}
{{- define "shop.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "shop.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .group | default .user }}
fsGroup: {{ .group | default .user }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "shop.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "shop.usesSasl" -}}
{{- if hasPrefix "sasl_" .Values.kafka.securityProtocol }}yes{{ end -}}
{{- end }}

{{/* How PostgreSQL is reached: PGSSL… are variables of its client library. */}}
{{- define "shop.postgres" -}}
POSTGRES_HOST: {{ .root.Values.postgres.host }}
POSTGRES_PORT: {{ .root.Values.postgres.port | quote }}
POSTGRES_USER: {{ .name }}
POSTGRES_PASSWORD_FILE: /run/secrets/postgres_password
{{ include "shop.postgresTls" .root }}
{{- end }}

{{- define "shop.postgresTls" -}}
{{- with .Values.postgres.sslMode }}
PGSSLMODE: {{ . }}
{{- end }}
{{- if .Values.postgres.caSecret.name }}
PGSSLROOTCERT: /run/secrets/postgres_ca
{{- end }}
{{- end }}

{{- define "shop.kafka" -}}
KAFKA_BOOTSTRAP_SERVERS: {{ .root.Values.kafka.bootstrapServers | quote }}
KAFKA_SECURITY_PROTOCOL: {{ .root.Values.kafka.securityProtocol }}
{{- if include "shop.usesSasl" .root }}
KAFKA_SASL_MECHANISM: {{ .root.Values.kafka.saslMechanism }}
KAFKA_SASL_USERNAME: {{ .name }}
KAFKA_SASL_PASSWORD_FILE: /run/secrets/kafka_password
{{- end }}
{{- if .root.Values.kafka.caSecret.name }}
KAFKA_CA_FILE: /run/secrets/kafka_ca
{{- end }}
{{- end }}

{{/* All settings of a process but SERVICE_KEYS, as the data of its ConfigMap. */}}
{{- define "shop.settings" -}}
{{- $values := .root.Values }}
{{- $process := .process }}
{{- $settings := merge (dict) $process.settings $values.settings }}
{{- range $name, $other := $values.processes }}
  {{- if $other.service }}
    {{- $_ := set $settings (printf "%s_ADDR" (upper $name)) (printf "dns:///%s:%v" $name $other.port) }}
  {{- end }}
{{- end }}
{{- if has "postgres" $process.uses }}
  {{- $settings = merge $settings (include "shop.postgres" . | fromYaml) }}
{{- end }}
{{- if has "kafka" $process.uses }}
  {{- $settings = merge $settings (include "shop.kafka" . | fromYaml) }}
{{- end }}
{{- if has "redis" $process.uses }}
  {{- $_ := set $settings "REDIS_URL_FILE" "/run/secrets/redis_url" }}
{{- end }}
{{- if has "smtp" $process.uses }}
  {{- if $values.smtp.url }}
    {{- $_ := set $settings "SMTP_URL" $values.smtp.url }}
  {{- else }}
    {{- $_ := set $settings "SMTP_URL_FILE" "/run/secrets/smtp_url" }}
  {{- end }}
{{- end }}
{{- if $process.service }}
  {{- $_ := set $settings "SERVICE_KEY_FILE" "/run/secrets/service_key" }}
{{- end }}
{{- range include "shop.ownSecrets" . | fromYamlArray }}
  {{- $_ := set $settings (printf "%s_FILE" (upper .)) (printf "/run/secrets/%s" .) }}
{{- end }}
{{- if include "shop.hasCertificate" . }}
  {{- $_ := set $settings "TLS_CERT_FILE" "/run/secrets/tls_certificate" }}
  {{- $_ := set $settings "TLS_KEY_FILE" "/run/secrets/tls_key" }}
  {{- $_ := set $settings "TLS_CA_FILE" "/run/secrets/tls_ca" }}
{{- end }}
{{- if eq .name "gateway" }}
  {{- $hosts := list "gateway" }}
  {{- if $values.ingress.enabled }}{{ $hosts = append $hosts $values.ingress.host }}{{ end }}
  {{- with $settings.HTTP_ALLOWED_HOSTS }}{{ $hosts = append $hosts . }}{{ end }}
  {{- $_ := set $settings "HTTP_ALLOWED_HOSTS" (join "," $hosts) }}
  {{- if include "shop.https" .root }}
    {{- $_ := set $settings "HTTP_TLS_CERT_FILE" "/run/secrets/https_certificate" }}
    {{- $_ := set $settings "HTTP_TLS_KEY_FILE" "/run/secrets/https_key" }}
  {{- end }}
{{- end }}
{{- if eq .name "provider" }}
  {{- $https := include "shop.https" .root }}
  {{- $_ := set $settings "PROVIDER_WEBHOOK_URL" (printf "%s://gateway:%v/api/v1/payments/webhook" (ternary "https" "http" (ne $https "")) $values.processes.gateway.port) }}
  {{- if $https }}{{ $_ := set $settings "PROVIDER_WEBHOOK_CA_FILE" "/run/secrets/tls_ca" }}{{ end }}
{{- end }}
{{- range $name, $value := $settings }}
  {{- if ne (toString $value) "" }}
{{ $name }}: {{ toString $value | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "shop.hasCertificate" -}}
{{- if and .root.Values.tls.enabled (or .process.service (eq .name "gateway")) }}yes{{ end -}}
{{- end }}

{{- define "shop.https" -}}
{{- if and .Values.tls.enabled .Values.tls.https }}yes{{ end -}}
{{- end }}

{{/* Keys of the Secret that this process reads under the same name. */}}
{{- define "shop.ownSecrets" -}}
{{- $secrets := .process.secrets }}
{{- if .process.settings.SUPER_ADMIN_EMAIL }}{{ $secrets = append $secrets "super_admin_password" }}{{ end }}
{{- toYaml $secrets }}
{{- end }}

{{/* File of a process -> key of the Secret. */}}
{{- define "shop.secretFiles" -}}
{{- if .process.service }}
service_key: {{ .name }}_service_key
{{- end }}
{{- if has "postgres" .process.uses }}
postgres_password: {{ .name }}_postgres_password
{{- end }}
{{- if and (has "kafka" .process.uses) (include "shop.usesSasl" .root) }}
kafka_password: {{ .name }}_kafka_password
{{- end }}
{{- if has "redis" .process.uses }}
redis_url: {{ .name }}_redis_url
{{- end }}
{{- if and (has "smtp" .process.uses) (not .root.Values.smtp.url) }}
smtp_url: smtp_url
{{- end }}
{{- range include "shop.ownSecrets" . | fromYamlArray }}
{{ . }}: {{ . }}
{{- end }}
{{- end }}

{{/* A source of a volume: .secret, and .files as file -> key. */}}
{{- define "shop.secretSource" -}}
- secret:
    name: {{ .secret }}
    items:
      {{- range $file, $key := .files }}
      - {key: {{ $key }}, path: {{ $file }}}
      {{- end }}
{{- end }}

{{/* Everything under /run/secrets of a process. */}}
{{- define "shop.secretSources" -}}
{{- $values := .root.Values }}
{{- with include "shop.secretFiles" . | fromYaml }}
{{ include "shop.secretSource" (dict "secret" $values.secrets.name "files" .) }}
{{- end }}
{{- if and (has "postgres" .process.uses) $values.postgres.caSecret.name }}
{{ include "shop.secretSource" (dict "secret" $values.postgres.caSecret.name "files" (dict "postgres_ca" $values.postgres.caSecret.key)) }}
{{- end }}
{{- if and (has "kafka" .process.uses) $values.kafka.caSecret.name }}
{{ include "shop.secretSource" (dict "secret" $values.kafka.caSecret.name "files" (dict "kafka_ca" $values.kafka.caSecret.key)) }}
{{- end }}
{{- if and (has "mongodb" .process.uses) $values.mongodb.caSecret.name }}
{{ include "shop.secretSource" (dict "secret" $values.mongodb.caSecret.name "files" (dict "mongodb_ca" $values.mongodb.caSecret.key)) }}
{{- end }}
{{- if include "shop.hasCertificate" . }}
{{ include "shop.secretSource" (dict "secret" (printf "%s-tls" .name) "files" (dict "tls_ca" "ca.crt" "tls_certificate" "tls.crt" "tls_key" "tls.key")) }}
{{- end }}
{{- if and .process.protocol (include "shop.https" .root) }}
{{- if eq .name "gateway" }}
{{ include "shop.secretSource" (dict "secret" "https-tls" "files" (dict "https_certificate" "tls.crt" "https_key" "tls.key")) }}
{{- else if eq .name "provider" }}
{{ include "shop.secretSource" (dict "secret" "https-tls" "files" (dict "tls_ca" "ca.crt")) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Changes with what the Secret says to this process; nothing is known of it where no cluster is asked (helm template). */}}
{{- define "shop.secretsChecksum" -}}
{{- $data := (lookup "v1" "Secret" .root.Release.Namespace .root.Values.secrets.name).data | default dict }}
{{- $told := list (ternary (get $data "service_keys") "" .process.service) }}
{{- range $file, $key := include "shop.secretFiles" . | fromYaml }}
  {{- $told = append $told (get $data $key) }}
{{- end }}
{{- join "," $told | sha256sum }}
{{- end }}

{{/* Says whether an autoscaler looks after the process, and by what. */}}
{{- define "shop.scaledBy" -}}
{{- $by := list }}
{{- if .root.Values.autoscaling.enabled }}
  {{- if has "cpu" .process.scaleBy }}{{ $by = append $by "cpu" }}{{ end }}
  {{- if and (has "lag" .process.scaleBy) .root.Values.autoscaling.lag.enabled }}{{ $by = append $by "lag" }}{{ end }}
{{- end }}
{{- toYaml $by }}
{{- end }}

{{/*
A job. With demo.enabled it is a resource of the release like others, a new one with each revision, because the servers
that it waits for are too; without, it is a hook that has to end well before anything of the release is changed.
*/}}
{{- define "shop.jobMetadata" -}}
{{- $demo := .root.Values.demo.enabled }}
name: {{ .name }}{{ if $demo }}-{{ .root.Release.Revision }}{{ end }}
labels:
  {{- include "shop.labels" (dict "root" .root "name" .name "component" "job") | nindent 2 }}
{{- if not $demo }}
annotations:
  helm.sh/hook: pre-install,pre-upgrade
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
{{- end }}

{{- define "shop.environment" -}}
{{- range $name, $value := . }}
- {name: {{ $name }}, value: {{ toString $value | quote }}}
{{- end }}
{{- end }}
